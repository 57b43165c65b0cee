//! Names in a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker_core::PeerCertificate;
use md5::Md5;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Reads the names out of a certificate that TLS has checked.
pub(crate) fn read(der: &[u8]) -> PeerCertificate {
    let der_base64 = STANDARD.encode(der);
    let mut certificate = PeerCertificate {
        pem: Some(pem(&der_base64)),
        der_base64: Some(der_base64),
        md5: Some(hex(&Md5::digest(der))),
        sha256: Some(hex(&Sha256::digest(der))),
        ..PeerCertificate::default()
    };
    let Ok((_, parsed)) = X509Certificate::from_der(der) else { return certificate };
    let subject = parsed.subject();
    certificate.common_name = subject.iter_common_name().last().and_then(text);
    certificate.subject = Some(distinguished_name(subject));
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return certificate };
    for name in &names.value.general_names {
        match name {
            GeneralName::DNSName(name) if certificate.san_dns.is_none() => {
                certificate.san_dns = Some((*name).to_owned());
            }
            GeneralName::URI(uri) if certificate.san_uri.is_none() => {
                certificate.san_uri = Some((*uri).to_owned());
            }
            _ => {}
        }
    }
    certificate
}

fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    attribute.as_str().ok().map(str::to_owned)
}

/// Writes a name as RFC 4514 says: the last part first, special characters escaped.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter()
        .map(|part| {
            let values: Vec<String> = part.iter().map(attribute).collect();
            values.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type().to_id_string();
    let name = match kind.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    };
    match attribute.as_str() {
        Ok(value) => format!("{name}={}", escaped(value)),
        Err(_) => format!("{name}=#{}", hex(attribute.as_slice())),
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let special = match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => true,
            '#' => at == 0,
            ' ' => at == 0 || at == last,
            _ => false,
        };
        if special {
            text.push('\\');
        }
        match character {
            '\0' => text.push_str("\\00"),
            character => text.push(character),
        }
    }
    text
}

fn pem(der_base64: &str) -> String {
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = der_base64;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64)); // base64 is ASCII
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_are_found() {
        let mut params = CertificateParams::new(["pump.example".to_owned()]).expect("names");
        params.subject_alt_names.push(SanType::URI("urn:pump:17".try_into().expect("a URI")));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Pumps, and more");
        params.distinguished_name.push(DnType::CommonName, "pump-17");
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        let found = read(made.der());
        assert_eq!(found.common_name.as_deref(), Some("pump-17"));
        assert_eq!(found.subject.as_deref(), Some("CN=pump-17,O=Pumps\\, and more,C=DE"));
        assert_eq!(found.san_dns.as_deref(), Some("pump.example"));
        assert_eq!(found.san_uri.as_deref(), Some("urn:pump:17"));
        assert_eq!(found.md5.as_deref().map(str::len), Some(32));
        assert_eq!(found.sha256.as_deref().map(str::len), Some(64));
        let without = |text: String| text.replace(['\r', '\n'], "");
        assert_eq!(found.pem.map(without), Some(without(made.pem())));
        assert_eq!(read(b"nonsense").common_name, None);
    }
}
