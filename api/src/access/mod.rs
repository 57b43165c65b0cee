//! Who may use the interface: users with passwords and tokens, programs with API keys, the command line with a local
//! token.

mod accounts;
mod api_keys;
mod caller;
mod guard;
mod key_cache;
mod key_file;
mod lockout;
mod password;
mod policy;
mod tokens;
mod users;

pub use accounts::Accounts;
pub use api_keys::LoadKeysError;
pub use key_file::KeyFileError;
pub use users::FirstUser;

pub(crate) use accounts::store_failed;
pub(crate) use api_keys::ApiKeyUpdate;
pub(crate) use caller::{Caller, CallerKind};
pub(crate) use guard::guard;
pub(crate) use users::UserUpdate;
