//! The PROXY protocol, versions 1 and 2: who a proxy connects for.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// What a header says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Proxied {
    /// Address of the client and the one that it connected to; nothing when the proxy speaks for itself.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// Common name of the certificate that the client has shown to the proxy.
    pub(crate) common_name: Option<String>,
}

/// Why a header cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the connection broke in the header of the PROXY protocol")]
    Broken(#[from] io::Error),
    #[error("no valid header of the PROXY protocol: {0}")]
    Malformed(&'static str),
}

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;

/// Most bytes after the head of version 2: much more than all that is defined.
const BODY_BYTES_MAX: usize = 4096;

/// Reads the header and nothing behind it.
pub(crate) async fn read_header(socket: &mut TcpStream) -> Result<Proxied, ProxyError> {
    let mut start = [0; SIGNATURE.len()];
    socket.read_exact(&mut start).await?;
    if start == SIGNATURE {
        let mut head = [0; 4];
        socket.read_exact(&mut head).await?;
        let [version_and_command, family, len @ ..] = head;
        let len = usize::from(u16::from_be_bytes(len));
        if len > BODY_BYTES_MAX {
            return Err(ProxyError::Malformed("too long"));
        }
        let mut body = vec![0; len];
        socket.read_exact(&mut body).await?;
        return parse_v2(version_and_command, family, &body).map_err(ProxyError::Malformed);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(ProxyError::Malformed("it begins with something else"));
    }
    let line = read_line(socket, start.to_vec()).await?;
    parse_v1(&line).map_err(ProxyError::Malformed)
}

/// Reads on to the end of the line, and leaves what follows in the socket.
async fn read_line(socket: &mut TcpStream, mut line: Vec<u8>) -> Result<Vec<u8>, ProxyError> {
    while !line.ends_with(b"\r\n") {
        let room = LINE_BYTES_MAX - line.len();
        if room == 0 || line.contains(&b'\n') {
            return Err(ProxyError::Malformed("the line does not end"));
        }
        let mut ahead = [0; LINE_BYTES_MAX];
        let count = socket.peek(&mut ahead[..room]).await?;
        if count == 0 {
            return Err(ProxyError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let own = ahead[..count].iter().position(|byte| *byte == b'\n').map_or(count, |at| at + 1);
        socket.read_exact(&mut ahead[..own]).await?;
        line.extend_from_slice(&ahead[..own]);
    }
    Ok(line)
}

/// Parses `PROXY TCP4 192.0.2.1 192.0.2.2 51022 1883\r\n`.
fn parse_v1(line: &[u8]) -> Result<Proxied, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "not ASCII")?;
    let line = line.strip_suffix("\r\n").ok_or("no end of line")?;
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return Err("it begins with something else");
    }
    let is_v4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        Some("UNKNOWN") => return Ok(Proxied::default()), // whatever follows
        _ => return Err("unknown protocol"),
    };
    let mut address = || -> Option<IpAddr> {
        let address: IpAddr = words.next()?.parse().ok()?;
        (address.is_ipv4() == is_v4).then_some(address)
    };
    let (source, target) = address().zip(address()).ok_or("bad address")?;
    let mut port = || words.next()?.parse::<u16>().ok();
    let (source_port, target_port) = port().zip(port()).ok_or("bad port")?;
    if words.next().is_some() {
        return Err("too many words");
    }
    let addresses = (SocketAddr::new(source, source_port), SocketAddr::new(target, target_port));
    Ok(Proxied { addresses: Some(addresses), common_name: None })
}

fn parse_v2(version_and_command: u8, family: u8, body: &[u8]) -> Result<Proxied, &'static str> {
    if version_and_command >> 4 != 2 {
        return Err("unknown version");
    }
    match version_and_command & 0x0f {
        0 => return Ok(Proxied::default()), // LOCAL: the proxy looks whether we are there
        1 => {}
        _ => return Err("unknown command"),
    }
    let (addresses, rest) = match family {
        0x11 => {
            let (block, rest) = body.split_first_chunk::<12>().ok_or("addresses cut off")?;
            let [a, b, c, d, e, f, g, h, p, q, r, s] = *block;
            let source = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([p, q])));
            let target = SocketAddr::from(([e, f, g, h], u16::from_be_bytes([r, s])));
            (Some((source, target)), rest)
        }
        0x21 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or("addresses cut off")?;
            let (target, rest) = rest.split_first_chunk::<16>().ok_or("addresses cut off")?;
            let ([p, q, r, s], rest) = rest.split_first_chunk::<4>().ok_or("addresses cut off")?;
            let source = SocketAddr::from((Ipv6Addr::from(*source), u16::from_be_bytes([*p, *q])));
            let target = SocketAddr::from((Ipv6Addr::from(*target), u16::from_be_bytes([*r, *s])));
            (Some((source, target)), rest)
        }
        // not given, or of a kind that no client of ours has
        _ => (None, [].as_slice()),
    };
    Ok(Proxied { addresses, common_name: common_name(rest)? })
}

/// Finds the common name of the client's certificate among the type-length-value blocks.
fn common_name(mut blocks: &[u8]) -> Result<Option<String>, &'static str> {
    const SSL: u8 = 0x20;
    const SSL_CN: u8 = 0x22;
    /// Flags and the result of the check, before the blocks inside.
    const SSL_HEAD_BYTES: usize = 5;
    /// The client has shown a certificate on this connection, or in its session.
    const SHOWN: u8 = 0x02 | 0x04;
    while !blocks.is_empty() {
        let (kind, value, rest) = block(blocks)?;
        blocks = rest;
        if kind != SSL {
            continue;
        }
        let ([flags, check @ ..], mut inner) =
            value.split_first_chunk::<SSL_HEAD_BYTES>().ok_or("TLS block cut off")?;
        let is_good = flags & SHOWN != 0 && u32::from_be_bytes(*check) == 0;
        while !inner.is_empty() {
            let (kind, value, rest) = block(inner)?;
            inner = rest;
            if kind == SSL_CN && is_good {
                let name = std::str::from_utf8(value).map_err(|_| "common name is not UTF-8")?;
                return Ok(Some(name.to_owned()));
            }
        }
    }
    Ok(None)
}

fn block(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), &'static str> {
    let ([kind, len @ ..], rest) = bytes.split_first_chunk::<3>().ok_or("block cut off")?;
    let (value, rest) =
        rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or("block cut off")?;
    Ok((*kind, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(source: &str, target: &str) -> Proxied {
        let parse = |text: &str| text.parse().expect("an address");
        Proxied { addresses: Some((parse(source), parse(target))), common_name: None }
    }

    #[test]
    fn lines_of_version_1() {
        let check =
            |line: &str, want: Option<Proxied>| assert_eq!(parse_v1(line.as_bytes()).ok(), want, "{line}");
        check(
            "PROXY TCP4 192.0.2.1 192.0.2.2 51022 1883\r\n",
            Some(addresses("192.0.2.1:51022", "192.0.2.2:1883")),
        );
        check("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Some(addresses("[2001:db8::1]:1", "[::1]:2")));
        check("PROXY UNKNOWN\r\n", Some(Proxied::default()));
        check("PROXY UNKNOWN ffff:f... what ever\r\n", Some(Proxied::default()));
        for line in [
            "PROXY\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 51022\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 51022 70000\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        ] {
            check(line, None);
        }
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0xc7, 0x4e, 0x07, 0x5b];

    #[test]
    fn headers_of_version_2() {
        let want = || addresses("192.0.2.1:51022", "192.0.2.2:1883");
        assert_eq!(parse_v2(0x21, 0x11, &V4), Ok(want()));
        assert_eq!(parse_v2(0x20, 0, &[]), Ok(Proxied::default()));
        assert_eq!(parse_v2(0x21, 0x00, &[1, 2]), Ok(Proxied::default()));
        assert_eq!(parse_v2(0x21, 0x31, &[0; 216]), Ok(Proxied::default()));
        let mut v6 = vec![0; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 1, 2);
        assert_eq!(parse_v2(0x21, 0x21, &v6), Ok(addresses("[::1]:1", "[::2]:2")));
        let with = |blocks: &[u8]| parse_v2(0x21, 0x11, &[&V4, blocks].concat());
        let named = Proxied { common_name: Some("pump".to_owned()), ..want() };
        let alpn = [1, 0, 1, b'x'];
        let tls = [0x20, 0, 12, 0x07, 0, 0, 0, 0, 0x22, 0, 4, b'p', b'u', b'm', b'p'];
        let tls_block = |flags: u8, check: u8| {
            let mut block = tls.to_vec();
            (block[2], block[3], block[7]) = (12, flags, check);
            block
        };
        assert_eq!(with(&[&alpn[..], &tls].concat()), Ok(named));
        assert_eq!(with(&tls_block(0x01, 0)), Ok(want()), "no certificate");
        assert_eq!(with(&tls_block(0x07, 1)), Ok(want()), "the proxy found it wrong");
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let whole = [&V4[..], &[0x20, 0, 12, 0x07, 0, 0, 0, 0, 0x22, 0, 4, b'p', b'u', b'm', b'p']].concat();
        for len in (0..whole.len()).filter(|len| *len != V4.len()) {
            assert!(parse_v2(0x21, 0x11, &whole[..len]).is_err(), "{len}");
        }
        assert!(parse_v2(0x11, 0x11, &V4).is_err());
        assert!(parse_v2(0x22, 0x11, &V4).is_err());
    }
}
