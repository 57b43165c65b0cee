//! Making bans felt by those who are connected.

use std::sync::Arc;

use engine_event::Text;

use crate::bans::{BanList, BanSubject, Suspect};
use crate::broker::Broker;
use crate::reason::CloseReason;
use crate::session::{Profile, Session};

impl Broker {
    /// Returns the ban list.
    pub fn bans(&self) -> &BanList {
        &self.bans
    }

    /// Ends the connections, with their sessions, of clients that the ban list has by now, and returns their number.
    ///
    /// `subject` says for whom an entry was added: that of a client id ends its session although the client is away,
    /// and every other one looks at all clients, which takes time when there are very many.
    pub fn expel(&self, subject: &BanSubject) -> usize {
        let sessions = match subject {
            BanSubject::ClientId(client_id) => self.registry.get(client_id).into_iter().collect(),
            _ => self.registry.all(),
        };
        let is_exact = matches!(subject, BanSubject::ClientId(_));
        sessions.iter().filter(|session| self.expel_one(session, is_exact)).count()
    }

    /// Says whether a client that was let in is banned by now.
    pub(crate) fn is_unwelcome(&self, client_id: &Text, profile: &Profile, now_ms: i64) -> bool {
        let suspect = Suspect {
            client_id: client_id.as_str().unwrap_or_default(),
            username: profile.username.as_ref().and_then(Text::as_str),
            address: profile.remote.ip(),
        };
        self.bans().finds(&suspect, now_ms)
    }

    fn expel_one(&self, session: &Arc<Session>, is_named: bool) -> bool {
        let mut context = self.call_context();
        let control = session.control();
        let (live, profile) = {
            let mut state = session.state();
            let Some(profile) = state.profile.clone().filter(|_| !state.ended) else { return false };
            let is_there = is_named || state.live.is_some();
            if !is_there || !self.is_unwelcome(session.client_id(), &profile, context.now_ms()) {
                return false;
            }
            state.will = None; // nobody hears of a banned client
            (state.live.take(), profile)
        };
        if let Some(live) = live {
            self.let_go(session, live.outlet, &profile, CloseReason::Kicked, &mut context);
        }
        self.terminate(session, &mut context);
        drop(control);
        self.flush(context);
        true
    }
}
