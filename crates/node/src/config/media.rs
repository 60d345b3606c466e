//! The values of `[b2bua]`.

use dialtone_roles::settings::BridgeSettings;
use smol_str::SmolStr;
use toml::de::DeValue;

use super::value::{Fault, Scalar, malformed, quoted, wrong_type};

/// A kind of media, the first word of an `m=` line (RFC 8866 §5.14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaKindName(pub(super) SmolStr);

impl MediaKindName {
    const BYTES_MAX: usize = 32;
    const EXAMPLE: &'static str = "\"audio\"";

    /// The kinds that pass when nobody chooses.
    pub(super) fn all() -> Vec<MediaKindName> {
        BridgeSettings::default().media.into_iter().map(MediaKindName).collect()
    }
}

impl Scalar for MediaKindName {
    type Bounds = ();
    const KIND: &'static str = "a kind of media";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<MediaKindName, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        if text.is_empty() || text.len() > Self::BYTES_MAX || !text.bytes().all(legal) {
            return Err(malformed(text, Self::KIND, Self::EXAMPLE));
        }
        Ok(MediaKindName(text.into()))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }

    fn example((): &()) -> String {
        quoted("audio")
    }
}

/// The type of a body, or of many: `type/subtype`, `type/*` or `*/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyType(pub(super) SmolStr);

impl BodyType {
    const BYTES_MAX: usize = 127;
    const EXAMPLE: &'static str = "\"application/pidf+xml\"";

    /// The types that pass when nobody chooses.
    pub(super) fn all() -> Vec<BodyType> {
        BridgeSettings::default().parts.into_iter().map(BodyType).collect()
    }
}

impl Scalar for BodyType {
    type Bounds = ();
    const KIND: &'static str = "the type of a body";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<BodyType, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        // RFC 6838 §4.2.
        let is_name = |name: &str| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
            !name.is_empty() && name.len() <= Self::BYTES_MAX && name.bytes().all(legal)
        };
        let is_type = match text.split_once('/') {
            Some((kind, "*")) => kind == "*" || is_name(kind),
            Some((kind, subtype)) => is_name(kind) && is_name(subtype),
            None => false,
        };
        if is_type { Ok(BodyType(text.into())) } else { Err(malformed(text, Self::KIND, Self::EXAMPLE)) }
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }

    fn example((): &()) -> String {
        quoted("application/pidf+xml")
    }
}
