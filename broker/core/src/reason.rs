//! Why connections end.

use broker_codec::ReasonCode;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said goodbye.
    Normal,
    /// Nothing came for one and a half times the keep alive.
    KeepAliveTimeout,
    /// An operator ended it, and its session.
    Kicked,
    /// Another connection took its session.
    TakenOver,
    /// Another connection of the client id started a new session.
    Discarded,
    /// The network connection broke.
    TcpClosed,
    /// Access was refused.
    NotAuthorized,
    /// The client broke the protocol.
    ProtocolError,
    /// No CONNECT came in time.
    IdleTimeout,
    /// The server stops.
    ServerShutdown,
    /// Something of ours failed.
    InternalError,
    /// More messages waited for it than may, and it is set to end then.
    QueueFull,
    /// Its socket took nothing for too long.
    SendTimeout,
    /// Memory is short, and more is kept for it than for others.
    Overload,
    /// More is kept for it than may be (`force_shutdown`).
    ForceShutdown,
}

impl CloseReason {
    /// Returns the word in the column `reason` of `client.disconnected`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::KeepAliveTimeout => "keepalive_timeout",
            Self::Kicked => "kicked",
            Self::TakenOver => "takenover",
            Self::Discarded => "discarded",
            Self::TcpClosed => "tcp_closed",
            Self::NotAuthorized => "not_authorized",
            Self::ProtocolError => "protocol_error",
            Self::IdleTimeout => "idle_timeout",
            Self::ServerShutdown => "server_shutdown",
            Self::InternalError => "internal_error",
            Self::QueueFull => "mqueue_full",
            Self::SendTimeout => "send_timeout",
            Self::Overload => "overload",
            Self::ForceShutdown => "force_shutdown",
        }
    }

    /// Returns what a client of 5.0 is told, if it is told anything.
    pub(crate) const fn farewell(self) -> Option<(ReasonCode, &'static str)> {
        Some(match self {
            Self::Normal | Self::TcpClosed | Self::ProtocolError | Self::IdleTimeout | Self::SendTimeout => {
                return None;
            }
            Self::KeepAliveTimeout => (ReasonCode::KEEP_ALIVE_TIMEOUT, "keep alive timeout"),
            Self::Kicked => (ReasonCode::ADMINISTRATIVE_ACTION, "closed by an administrator"),
            Self::TakenOver | Self::Discarded => {
                (ReasonCode::SESSION_TAKEN_OVER, "another connection uses the client id")
            }
            Self::NotAuthorized => (ReasonCode::NOT_AUTHORIZED, "not authorized"),
            Self::ServerShutdown => (ReasonCode::SERVER_SHUTTING_DOWN, "server shutting down"),
            Self::InternalError => (ReasonCode::UNSPECIFIED_ERROR, "internal error"),
            Self::QueueFull | Self::ForceShutdown => (ReasonCode::QUOTA_EXCEEDED, "too many messages wait"),
            Self::Overload => (ReasonCode::QUOTA_EXCEEDED, "memory is short, and too many messages wait"),
        })
    }
}
