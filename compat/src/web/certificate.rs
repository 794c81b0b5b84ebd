//! Who a client certificate says that its holder is: names of its subject, and its subject alternative names.
//!
//! Only these are read here; rustls has verified the certificate before. The layout is that of RFC 5280, section 4.1.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The names in a client certificate that was verified against a CA. Each request of its connection carries it as an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate(Arc<Names>);

impl ClientCertificate {
    /// Of a certificate that was verified.
    pub(super) fn verified(names: Names) -> Self {
        Self(Arc::new(names))
    }

    /// The subject's first organization.
    #[must_use]
    pub fn organization(&self) -> Option<&str> {
        self.0.organization.as_deref()
    }

    /// The subject's first organizational unit.
    #[must_use]
    pub fn organizational_unit(&self) -> Option<&str> {
        self.0.organizational_unit.as_deref()
    }

    /// The subject's last common name.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.0.common_name.as_deref()
    }
}

/// The names in a certificate, whoever made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    organization: Option<String>,
    organizational_unit: Option<String>,
    common_name: Option<String>,
    /// DNS names, mail addresses, URIs and addresses, as texts.
    pub alternatives: Vec<String>,
}

impl Names {
    /// Reads a certificate; nothing where it is damaged, or a name is in an encoding that is not read here.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let mut outer = Der(Der(certificate).expect(SEQUENCE)?);
        let mut fields = Der(outer.expect(SEQUENCE)?);
        // the version is optional
        fields.take_if(VERSION)?;
        fields.expect(INTEGER)?;
        // signature algorithm, issuer, validity
        for _ in 0..3 {
            fields.expect(SEQUENCE)?;
        }
        let mut names = Self::default();
        names.read_subject(fields.expect(SEQUENCE)?)?;
        // the public key
        fields.expect(SEQUENCE)?;
        while let Some((tag, content)) = fields.next()? {
            if tag == EXTENSIONS {
                names.read_extensions(Der(content).expect(SEQUENCE)?)?;
            }
        }
        Some(names)
    }

    fn read_subject(&mut self, subject: &[u8]) -> Option<()> {
        let mut sets = Der(subject);
        while let Some((tag, set)) = sets.next()? {
            if tag != SET {
                return None;
            }
            let mut attributes = Der(set);
            while let Some((tag, attribute)) = attributes.next()? {
                if tag != SEQUENCE {
                    return None;
                }
                let mut attribute = Der(attribute);
                let name = attribute.expect(OBJECT_IDENTIFIER)?;
                let (tag, value) = attribute.next()??;
                match name {
                    ORGANIZATION => drop(self.organization.get_or_insert(text(tag, value)?)),
                    ORGANIZATIONAL_UNIT => drop(self.organizational_unit.get_or_insert(text(tag, value)?)),
                    COMMON_NAME => self.common_name = Some(text(tag, value)?),
                    _ => {}
                }
            }
        }
        Some(())
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Option<()> {
        let mut extensions = Der(extensions);
        while let Some((tag, extension)) = extensions.next()? {
            if tag != SEQUENCE {
                return None;
            }
            let mut extension = Der(extension);
            let name = extension.expect(OBJECT_IDENTIFIER)?;
            extension.take_if(BOOLEAN)?;
            let value = extension.expect(OCTET_STRING)?;
            if name == SUBJECT_ALTERNATIVE_NAME {
                let mut alternatives = Der(Der(value).expect(SEQUENCE)?);
                while let Some((tag, value)) = alternatives.next()? {
                    self.alternatives.extend(alternative(tag, value)?);
                }
            }
        }
        Some(())
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.4.3, 2.5.4.10, 2.5.4.11 and 2.5.29.17.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 0x04, 0x0b];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// A directory string: UTF-8, numeric, printable and IA5 strings, and such of two bytes a character.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        0x0c => String::from_utf8(value.to_vec()).ok(),
        0x12 | 0x13 | 0x16 if value.is_ascii() => String::from_utf8(value.to_vec()).ok(),
        0x1e if value.len().is_multiple_of(2) => {
            let units: Vec<u16> = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

/// A mail address, a DNS name, a URI or an address; the kinds beside them are left out.
fn alternative(tag: u8, value: &[u8]) -> Option<Option<String>> {
    match tag {
        0x81 | 0x82 | 0x86 => Some(Some(std::str::from_utf8(value).ok()?.to_owned())),
        0x87 => {
            let four = <[u8; 4]>::try_from(value).map(|bytes| Ipv4Addr::from(bytes).to_string());
            let sixteen = <[u8; 16]>::try_from(value).map(|bytes| Ipv6Addr::from(bytes).to_string());
            Some(Some(four.or(sixteen).ok()?))
        }
        _ => Some(None),
    }
}

/// What is still to be read of a run of values in DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Tag and content of the next value; `None` is damage, `Some(None)` the end.
    #[expect(clippy::option_option, reason = "damage and the end are two things, and `?` is for the first")]
    fn next(&mut self) -> Option<Option<(u8, &'a [u8])>> {
        let Some((&tag, rest)) = self.0.split_first() else { return Some(None) };
        // tags of several bytes do not occur in what is read here
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            // of no length, or of one that no certificate has
            if count == 0 || count > 3 || rest.len() < count {
                return None;
            }
            let (bytes, after) = rest.split_at(count);
            length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
            rest = after;
        }
        if rest.len() < length {
            return None;
        }
        let (content, after) = rest.split_at(length);
        self.0 = after;
        Some(Some((tag, content)))
    }

    /// The content of the next value, which has to have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()?.filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// Passes over the next value where it has this tag.
    fn take_if(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.next()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn certificate(params: &CertificateParams) -> Vec<u8> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn full() -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![
            SanType::DnsName("a.example".try_into().unwrap()),
            SanType::Rfc822Name("b@example".try_into().unwrap()),
            SanType::URI("spiffe://c/d".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("fe80::1".parse().unwrap()),
        ];
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, "Org ö");
        subject.push(DnType::OrganizationalUnitName, DnValue::PrintableString("unit".try_into().unwrap()));
        subject.push(DnType::CommonName, DnValue::BmpString("näme".try_into().unwrap()));
        params.distinguished_name = subject;
        certificate(&params)
    }

    #[test]
    fn names_are_read() {
        let names = Names::of(&full()).unwrap();
        assert_eq!(names.alternatives, ["a.example", "b@example", "spiffe://c/d", "10.0.0.1", "fe80::1"]);
        let certificate = ClientCertificate::verified(names);
        assert_eq!(certificate.organization(), Some("Org ö"));
        assert_eq!(certificate.organizational_unit(), Some("unit"));
        assert_eq!(certificate.common_name(), Some("näme"));
    }

    #[test]
    fn a_certificate_without_names_has_none() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        assert_eq!(Names::of(&certificate(&params)), Some(Names::default()));
    }

    #[test]
    fn an_encoding_that_is_not_read_is_not_passed_over() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        let text = DnValue::TeletexString("unit".try_into().unwrap());
        params.distinguished_name.push(DnType::OrganizationalUnitName, text);
        assert_eq!(Names::of(&certificate(&params)), None);
    }

    #[test]
    fn damage_is_no_panic() {
        let whole = full();
        for end in 0..whole.len() {
            assert_eq!(Names::of(&whole[..end]), None, "{end}");
        }
        let mut damaged = whole.clone();
        for at in 0..whole.len() {
            for bit in 0..8 {
                damaged[at] ^= 1 << bit;
                // a name may read otherwise; the signature is not checked here
                let _ = Names::of(&damaged);
                damaged[at] ^= 1 << bit;
            }
        }
    }
}
