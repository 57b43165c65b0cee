//! The seams for access control: who may connect, publish and subscribe.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use broker_codec::{QoS, ReasonCode, Version};
use bytes::Bytes;
use engine_event::{Map, Text};

use crate::certificate::PeerCertificate;
use crate::session::Profile;

/// Decides who may connect.
pub trait Authenticator: Send + Sync {
    /// Judges a CONNECT, at once or later. Later, the connection waits and reads nothing.
    fn authenticate(&self, login: &Login<'_>) -> Judgement;
}

/// What a CONNECT says about who connects.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The client id, not empty: an assigned one is already assigned.
    pub client_id: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password.
    pub password: Option<&'a Bytes>,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Name of the listener, `tcp:default`.
    pub listener: &'a str,
    /// Protocol version.
    pub version: Version,
    /// The certificate that the client has shown.
    pub certificate: Option<&'a PeerCertificate>,
}

/// The answer of an [`Authenticator`].
pub enum Judgement {
    /// Decided.
    Now(Result<Identity, Refusal>),
    /// Somebody else has to be asked.
    Later(Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send>>),
}

/// What authentication found out about a client.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// Whether every authorization is allowed.
    pub is_superuser: bool,
    /// Whether nobody vouches for the client.
    pub is_anonymous: bool,
    /// Attributes of the client (`client_attrs`).
    pub attributes: Map,
}

/// Why a client may not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the CONNACK.
    pub code: ReasonCode,
    /// A short fixed text for the Reason String.
    pub reason: &'static str,
}

/// Without an authenticator: everybody is anonymous, whatever name and password they give, and welcome from
/// loopback only, unless told otherwise.
#[derive(Debug, Clone, Copy)]
pub struct AnonymousOnly {
    /// Whether clients from other addresses are welcome too.
    pub from_everywhere: bool,
}

impl Authenticator for AnonymousOnly {
    fn authenticate(&self, login: &Login<'_>) -> Judgement {
        let address = login.peer.ip().to_canonical();
        Judgement::Now(if self.from_everywhere || address.is_loopback() {
            Ok(Identity { is_anonymous: true, ..Identity::default() })
        } else {
            Err(Refusal {
                code: ReasonCode::NOT_AUTHORIZED,
                reason: "anonymous clients are accepted from loopback only",
            })
        })
    }
}

/// Decides who may publish and subscribe.
pub trait Authorizer: Send + Sync {
    /// Judges one PUBLISH, will, or filter of a SUBSCRIBE.
    fn authorize(&self, client: &Requester<'_>, action: Action<'_>) -> Verdict;

    /// Judges, and names the source that decided: `file`, `http`, `cache`, `default`.
    fn decide(&self, client: &Requester<'_>, action: Action<'_>) -> Decision {
        Decision { verdict: self.authorize(client, action), source: "default" }
    }

    /// Says whether everything is allowed, so that nothing need be asked for each message.
    fn allows_everything(&self) -> bool {
        false
    }
}

/// Who asks for authorization.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    /// The client id.
    pub client_id: &'a Text,
    /// The user name.
    pub username: Option<&'a Text>,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Name of the listener.
    pub listener: &'a str,
    /// What authentication found out.
    pub identity: &'a Identity,
}

/// What authorization is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// A message to `topic`.
    Publish {
        /// Topic name.
        topic: &'a str,
        /// QoS of the message.
        qos: QoS,
        /// Whether it is to be retained.
        retain: bool,
    },
    /// A subscription; of a shared one, the filter without its group.
    Subscribe {
        /// Topic filter.
        filter: &'a str,
        /// Requested QoS.
        qos: QoS,
    },
}

/// The answer of an [`Authorizer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allow,
    /// Refused.
    Deny,
}

/// A [`Verdict`] and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// Who gave it, for the column `authz_source`.
    pub source: &'static str,
}

impl Decision {
    /// A decision for which nobody had to be asked.
    pub(crate) fn of_broker(profile: &Profile, allowed: bool) -> Self {
        let source = if profile.identity.is_superuser { "superuser" } else { "default" };
        Self { verdict: if allowed { Verdict::Allow } else { Verdict::Deny }, source }
    }
}

/// Allows everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn authorize(&self, _client: &Requester<'_>, _action: Action<'_>) -> Verdict {
        Verdict::Allow
    }

    fn allows_everything(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_clients_come_from_loopback() {
        let check = |peer: &str, from_everywhere, welcome: bool| {
            let login = Login {
                client_id: "c",
                username: Some("u"),
                password: None,
                peer: peer.parse().expect("an address"),
                listener: "tcp:default",
                version: Version::V5,
                certificate: None,
            };
            let Judgement::Now(result) = (AnonymousOnly { from_everywhere }).authenticate(&login) else {
                panic!("decided at once");
            };
            assert_eq!(result.is_ok(), welcome, "{peer}");
        };
        check("127.0.0.1:1", false, true);
        check("127.9.9.9:1", false, true);
        check("[::1]:1", false, true);
        check("[::ffff:127.0.0.1]:1", false, true);
        check("10.0.0.1:1", false, false);
        check("[::ffff:10.0.0.1]:1", false, false);
        check("10.0.0.1:1", true, true);
    }
}
