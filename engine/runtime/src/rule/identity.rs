//! A number for each event, so that its rows have ids that stay.

use engine_event::{Event, JsonOptions, Value, encode_json};

/// The message id, or for other events a hash of all their columns (FNV-1a, 128 bits: the same in every process).
pub(super) fn event_identity(event: &Event) -> u128 {
    if let Some(message) = event.publish() {
        return message.id;
    }
    let columns = encode_json(&Value::Map(event.columns()), JsonOptions::default());
    let mut hash: u128 = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D;
    for byte in columns {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
    }
    hash
}
