//! The small part of MQTT 3.1.1 and 5.0 that a load generator needs.

pub fn put_len(out: &mut Vec<u8>, mut n: usize) {
    loop {
        let b = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            out.push(b);
            return;
        }
        out.push(b | 0x80);
    }
}

fn put_str(out: &mut Vec<u8>, s: &str) {
    out.extend_from_slice(&(s.len() as u16).to_be_bytes());
    out.extend_from_slice(s.as_bytes());
}

/// A CONNECT; `keeps` asks for a session that stays when the connection ends.
pub fn connect(
    v5: bool,
    keeps: bool,
    id: &str,
    keepalive: u16,
    recv_max: u16,
    user: Option<&str>,
    pass: Option<&str>,
) -> Vec<u8> {
    let mut b = Vec::with_capacity(64);
    put_str(&mut b, "MQTT");
    b.push(if v5 { 5 } else { 4 });
    let mut flags = if keeps { 0 } else { 0x02 };
    if user.is_some() {
        flags |= 0x80;
    }
    if pass.is_some() {
        flags |= 0x40;
    }
    b.push(flags);
    b.extend_from_slice(&keepalive.to_be_bytes());
    if v5 {
        b.push(if keeps { 8 } else { 3 });
        b.push(0x21);
        b.extend_from_slice(&recv_max.to_be_bytes());
        if keeps {
            b.push(0x11);
            b.extend_from_slice(&3600_u32.to_be_bytes());
        }
    }
    put_str(&mut b, id);
    if let Some(u) = user {
        put_str(&mut b, u);
    }
    if let Some(p) = pass {
        put_str(&mut b, p);
    }
    frame(0x10, &b)
}

pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 5);
    out.push(first);
    put_len(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

pub fn subscribe(v5: bool, pid: u16, filters: &[String], qos: u8) -> Vec<u8> {
    let mut b = Vec::with_capacity(filters.len() * 24 + 4);
    b.extend_from_slice(&pid.to_be_bytes());
    if v5 {
        b.push(0);
    }
    for f in filters {
        put_str(&mut b, f);
        b.push(qos);
    }
    frame(0x82, &b)
}

/// An encoded PUBLISH with the offsets of what changes from message to message.
pub struct Tpl {
    pub bytes: Vec<u8>,
    pub pid_off: usize,
    pub pay_off: usize,
}

pub fn publish_tpl(v5: bool, topic: &str, qos: u8, payload: &[u8]) -> Tpl {
    let mut b = Vec::with_capacity(topic.len() + payload.len() + 8);
    put_str(&mut b, topic);
    let pid_in_body = b.len();
    if qos > 0 {
        b.extend_from_slice(&[0, 0]);
    }
    if v5 {
        b.push(0);
    }
    let pay_in_body = b.len();
    b.extend_from_slice(payload);
    let n = b.len();
    let bytes = frame(0x30 | (qos << 1), &b);
    let head = bytes.len() - n;
    Tpl { pid_off: if qos > 0 { head + pid_in_body } else { 0 }, pay_off: head + pay_in_body, bytes }
}

/// Fixed header at `b`: (first byte, header length, remaining length).
#[inline]
pub fn header(b: &[u8]) -> Option<(u8, usize, usize)> {
    if b.len() < 2 {
        return None;
    }
    let mut n = 0usize;
    let mut i = 1;
    let mut shift = 0;
    loop {
        let c = *b.get(i)?;
        n |= ((c & 0x7f) as usize) << shift;
        i += 1;
        if c & 0x80 == 0 {
            return Some((b[0], i, n));
        }
        shift += 7;
        if shift > 21 {
            return Some((0, i, 0));
        }
    }
}

/// Payload of a received PUBLISH body: (packet id or 0, payload).
#[inline]
pub fn publish_body(v5: bool, first: u8, b: &[u8]) -> Option<(u16, &[u8])> {
    let tl = u16::from_be_bytes([*b.first()?, *b.get(1)?]) as usize;
    let mut o = 2 + tl;
    let mut pid = 0;
    if (first >> 1) & 3 > 0 {
        pid = u16::from_be_bytes([*b.get(o)?, *b.get(o + 1)?]);
        o += 2;
    }
    if v5 {
        let mut n = 0usize;
        let mut shift = 0;
        loop {
            let c = *b.get(o)?;
            o += 1;
            n |= ((c & 0x7f) as usize) << shift;
            if c & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        o += n;
    }
    Some((pid, b.get(o..)?))
}

/// The Receive Maximum in the body of an MQTT 5.0 CONNACK.
pub fn receive_maximum(b: &[u8]) -> Option<u16> {
    let n = *b.get(2)? as usize;
    let mut o = 3;
    if n & 0x80 != 0 {
        return None;
    }
    while o < (3 + n).min(b.len()) {
        let str_len = |at: usize| Some(2 + u16::from_be_bytes([*b.get(at)?, *b.get(at + 1)?]) as usize);
        let id = b[o];
        o += 1;
        o += match id {
            0x21 => return Some(u16::from_be_bytes([*b.get(o)?, *b.get(o + 1)?])),
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            0x13 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x26 => {
                let k = str_len(o)?;
                k + str_len(o + k)?
            }
            _ => str_len(o)?,
        };
    }
    None
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Bin(usize),
    Json,
}

const JSON_HEAD: usize = 6; // {"ts":
pub const TS_W: usize = 16; // microseconds: still exact as a double
const P_OFF: usize = JSON_HEAD + TS_W + 5; // ,"p":
const P_W: usize = 7;
const S_OFF: usize = P_OFF + P_W + 5; // ,"s":
const S_W: usize = 10;
const T_OFF: usize = S_OFF + S_W + 15; // ,"temperature":

pub fn payload_tpl(kind: Kind, publisher: u32) -> Vec<u8> {
    match kind {
        Kind::Bin(n) => {
            let mut v = vec![b'x'; n.max(16)];
            v[8..12].copy_from_slice(&publisher.to_le_bytes());
            v
        }
        Kind::Json => format!(
            concat!(
                r#"{{"ts":{:016},"p":{:07},"s":{:010},"temperature":{:02}.50,"#,
                r#""humidity":61.20,"pressure":1013.25,"device_id":"sensor-{:06}","#,
                r#""site":"plant-7","line":"L03","vibration":[0.011,0.024,0.037],"#,
                r#""battery":87,"status":"ok","fw":"1.4.2","tags":{{"zone":"A","unit":"C"}}}}"#
            ),
            1_000_000_000_000_000u64,
            1_000_000 + publisher,
            1_000_000_000u64,
            10,
            publisher
        )
        .into_bytes(),
    }
}

/// The text of a timestamp as the JSON payload carries it.
pub fn ts_text(ns: u64) -> [u8; TS_W] {
    let mut t = [0; TS_W];
    digits(&mut t, ns / 1000);
    t
}

pub fn digits(out: &mut [u8], mut v: u64) {
    for d in out.iter_mut().rev() {
        *d = b'0' + (v % 10) as u8;
        v /= 10;
    }
}

#[inline]
pub fn stamp(kind: Kind, p: &mut [u8], ts: u64, ts_txt: &[u8; TS_W], seq: u32) {
    match kind {
        Kind::Bin(_) => {
            p[0..8].copy_from_slice(&ts.to_le_bytes());
            p[12..16].copy_from_slice(&seq.to_le_bytes());
        }
        Kind::Json => {
            p[JSON_HEAD..JSON_HEAD + TS_W].copy_from_slice(ts_txt);
            digits(&mut p[S_OFF..S_OFF + S_W], 1_000_000_000 + seq as u64);
            // 10..=99, so that "temperature >= 55" keeps exactly half
            digits(&mut p[T_OFF..T_OFF + 2], 10 + (seq as u64 * 37) % 90);
        }
    }
}

#[inline]
fn num(b: &[u8]) -> Option<u64> {
    let mut v = 0u64;
    let mut any = false;
    for c in b {
        if !c.is_ascii_digit() {
            break;
        }
        any = true;
        v = v.wrapping_mul(10).wrapping_add((c - b'0') as u64);
    }
    any.then_some(v)
}

fn find_num(b: &[u8], key: &[u8]) -> Option<u64> {
    let at = b.windows(key.len()).position(|w| w == key)? + key.len();
    let mut o = at;
    while b.get(o).is_some_and(|c| *c == b' ') {
        o += 1;
    }
    num(&b[o..])
}

/// (timestamp, publisher, sequence) of a received payload.
#[inline]
pub fn unstamp(kind: Kind, p: &[u8]) -> Option<(u64, u32, u32)> {
    match kind {
        Kind::Bin(_) => {
            if p.len() < 16 {
                return None;
            }
            Some((
                u64::from_le_bytes(p[0..8].try_into().ok()?),
                u32::from_le_bytes(p[8..12].try_into().ok()?),
                u32::from_le_bytes(p[12..16].try_into().ok()?),
            ))
        }
        Kind::Json => {
            let (ts, pb, s) = if p.starts_with(b"{\"ts\":") && p.get(P_OFF - 5..P_OFF) == Some(b",\"p\":") {
                (
                    num(&p[JSON_HEAD..JSON_HEAD + TS_W])?,
                    num(&p[P_OFF..P_OFF + P_W])?,
                    num(p.get(S_OFF..S_OFF + S_W)?)?,
                )
            } else {
                (find_num(p, b"\"ts\":")?, find_num(p, b"\"p\":")?, find_num(p, b"\"s\":")?)
            };
            Some((ts * 1000, pb.checked_sub(1_000_000)? as u32, s.checked_sub(1_000_000_000)? as u32))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_round_trip() {
        for kind in [Kind::Bin(16), Kind::Bin(256), Kind::Json] {
            for v5 in [false, true] {
                for qos in 0..3 {
                    let mut t = publish_tpl(v5, "a/b", qos, &payload_tpl(kind, 42));
                    let ts = 1_790_000_000_123_456_000u64;
                    let txt = ts_text(ts);
                    let off = t.pay_off;
                    stamp(kind, &mut t.bytes[off..], ts, &txt, 77);
                    let (first, h, n) = header(&t.bytes).unwrap();
                    assert_eq!(h + n, t.bytes.len());
                    let (_, pay) = publish_body(v5, first, &t.bytes[h..]).unwrap();
                    assert_eq!(unstamp(kind, pay), Some((ts, 42, 77)));
                    if kind == Kind::Json {
                        let s = std::str::from_utf8(pay).unwrap();
                        assert!(s.contains("\"temperature\":69.50,"), "{s}");
                        let moved =
                            format!("{{\"x\":1, \"ts\": {}, \"p\": 1000042, \"s\":1000000077}}", ts / 1000);
                        assert_eq!(unstamp(kind, moved.as_bytes()), Some((ts, 42, 77)));
                        assert!(pay.len() > 240 && pay.len() < 290, "{}", pay.len());
                    }
                }
            }
        }
    }

    #[test]
    fn receive_maximum_is_found() {
        let b = [0, 0, 13, 0x27, 0, 1, 0, 0, 0x12, 0, 1, b'x', 0x21, 0, 32, 0x22, 0, 9];
        assert_eq!(receive_maximum(&b), Some(32));
        assert_eq!(receive_maximum(&[0, 0, 0]), None);
        assert_eq!(receive_maximum(&[0, 0]), None);
    }

    #[test]
    fn temperature_splits_in_half() {
        let hot = (0..9000u64).filter(|s| 10 + (s * 37) % 90 >= 55).count();
        assert_eq!(hot, 4500);
    }
}
