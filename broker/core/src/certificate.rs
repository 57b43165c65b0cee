//! What is known of a client's certificate.

/// The certificate that a client has shown, or what a proxy says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Common name of the subject.
    pub common_name: Option<String>,
    /// The whole subject as RFC 4514 writes it, `CN=pump-17,OU=plant,O=example`.
    pub subject: Option<String>,
    /// The first DNS name among the alternative names.
    pub san_dns: Option<String>,
    /// The first URI among the alternative names.
    pub san_uri: Option<String>,
    /// The certificate in DER, in base64; nothing when only a proxy has seen it.
    pub der_base64: Option<String>,
    /// The certificate in PEM.
    pub pem: Option<String>,
    /// MD5 of the DER form in lower-case hexadecimal.
    pub md5: Option<String>,
    /// SHA-256 of the DER form in lower-case hexadecimal.
    pub sha256: Option<String>,
}

/// A part of a certificate that may name a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateField {
    /// `cn`: the common name.
    CommonName,
    /// `dn`: the whole subject.
    Subject,
    /// `crt`: the DER form, in base64.
    Der,
    /// `pem`: the PEM form.
    Pem,
    /// `md5`: hash of the DER form.
    Md5,
    /// `sha256`: hash of the DER form.
    Sha256,
    /// `san_uri`: the first URI among the alternative names.
    SanUri,
    /// `san_dns`: the first DNS name among the alternative names.
    SanDns,
}

impl PeerCertificate {
    /// Returns a field, if the certificate has it and it is not empty.
    pub fn field(&self, field: CertificateField) -> Option<&str> {
        let value = match field {
            CertificateField::CommonName => &self.common_name,
            CertificateField::Subject => &self.subject,
            CertificateField::Der => &self.der_base64,
            CertificateField::Pem => &self.pem,
            CertificateField::Md5 => &self.md5,
            CertificateField::Sha256 => &self.sha256,
            CertificateField::SanUri => &self.san_uri,
            CertificateField::SanDns => &self.san_dns,
        };
        value.as_deref().filter(|value| !value.is_empty())
    }
}
