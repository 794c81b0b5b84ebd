//! The labels of what comes from one resource.

use std::borrow::Cow;

use super::OtlpSettings;
use super::attributes::key_value;
use super::names::label_name;
use crate::remote::series::LABELS_MAX;
use crate::remote::wire::{Fields, Malformed};

/// Names and values, each name once, as they were set.
#[derive(Debug, Clone, Default)]
pub struct LabelList<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Attributes that cannot become labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A key of which no name is left.
    #[error("normalization for label name {0:?} resulted in an invalid name")]
    Name(String),
    /// A key or value is not text.
    #[error("an attribute is not UTF-8")]
    NotUtf8,
    /// More than a series may have.
    #[error("more than {LABELS_MAX} attributes")]
    TooMany,
}

/// Attributes as they came.
pub type Attributes<'a> = Vec<(&'a str, Cow<'a, str>)>;

impl<'a> LabelList<'a> {
    /// The value of `name`, or nothing.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        let at = self.0.iter().position(|(n, _)| *n == name);
        match (at, value.is_empty()) {
            (Some(at), true) => drop(self.0.swap_remove(at)),
            (Some(at), false) => self.0[at].1 = value,
            (None, true) => {}
            (None, false) => self.0.push((name, value)),
        }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

/// Adds the attribute in `message` to `attributes`; what is wrong with it goes to `error`.
///
/// # Errors
/// Where the bytes are no such message.
pub fn push_attribute<'a>(
    message: &'a [u8],
    attributes: &mut Attributes<'a>,
    error: &mut Option<LabelError>,
) -> Result<(), Malformed> {
    match key_value(message)? {
        None => *error = Some(LabelError::NotUtf8),
        Some(_) if attributes.len() == LABELS_MAX => *error = Some(LabelError::TooMany),
        Some(attribute) => attributes.push(attribute),
    }
    Ok(())
}

/// What a resource gives to all its series.
#[derive(Debug, Default)]
pub struct Resource<'a> {
    /// Its attributes.
    pub attributes: Attributes<'a>,
    job: String,
    instance: String,
    promoted: LabelList<'a>,
}

/// The attributes that become `job` and `instance`.
const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

impl<'a> Resource<'a> {
    /// Reads a resource; the inner error is of this resource alone.
    ///
    /// # Errors
    /// Where the bytes are no such message.
    pub fn decode(message: &'a [u8], settings: &OtlpSettings) -> Result<Result<Self, LabelError>, Malformed> {
        let (mut attributes, mut error) = (Vec::new(), None);
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                push_attribute(value.bytes("attributes")?, &mut attributes, &mut error)?;
            }
        }
        Ok(error.map_or(Ok(()), Err).and_then(|()| Self::new(attributes, settings)))
    }

    fn new(attributes: Attributes<'a>, settings: &OtlpSettings) -> Result<Self, LabelError> {
        let get = |key: &str| attributes.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_ref());
        let job = match (get("service.namespace"), get("service.name")) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name.to_owned(),
            (_, None) => String::new(),
        };
        let instance = get("service.instance.id").unwrap_or_default().to_owned();
        let mut promoted = LabelList::default();
        for (key, value) in &attributes {
            let named = settings.promote_resource_attributes.iter().any(|name| name == key);
            if named != settings.promote_all_resource_attributes {
                let name = label_name(key, settings.strategy).ok_or_else(|| LabelError::Name((*key).to_owned()))?;
                promoted.set(name, value.clone());
            }
        }
        Ok(Self { attributes, job, instance, promoted })
    }

    /// The labels of a data point but its metric's name.
    ///
    /// # Errors
    /// Where an attribute cannot become a label.
    pub fn labels<'b>(
        &'b self,
        attributes: &[(&'b str, Cow<'b, str>)],
        settings: &OtlpSettings,
    ) -> Result<LabelList<'b>, LabelError> {
        let mut labels = translated(attributes, &["__name__"], settings)?;
        for (name, value) in &self.promoted.0 {
            if labels.get(name).is_empty() {
                labels.set(Cow::Borrowed(name.as_ref()), Cow::Borrowed(value.as_ref()));
            }
        }
        self.identify(&mut labels);
        Ok(labels)
    }

    /// The labels of `target_info` but its name; nothing where there would be only those that every series has, or none that say
    /// whose they are.
    ///
    /// # Errors
    /// Where an attribute cannot become a label.
    pub fn info_labels<'b>(&'b self, settings: &OtlpSettings) -> Result<Option<LabelList<'b>>, LabelError> {
        if self.attributes.iter().all(|(key, _)| IDENTIFYING.contains(key)) {
            return Ok(None);
        }
        let ignored: &[&str] = if settings.keep_identifying_resource_attributes { &[] } else { &IDENTIFYING };
        let mut labels = translated(&self.attributes, ignored, settings)?;
        self.identify(&mut labels);
        let identified = !labels.get("job").is_empty() || !labels.get("instance").is_empty();
        Ok(identified.then_some(labels))
    }

    fn identify<'b>(&'b self, labels: &mut LabelList<'b>) {
        for (name, value) in [("job", &self.job), ("instance", &self.instance)] {
            if !value.is_empty() {
                labels.set(Cow::Borrowed(name), Cow::Borrowed(value));
            }
        }
    }
}

/// Attributes as labels; values of keys that become one name are joined with semicolons, in the order of the keys.
fn translated<'b>(
    attributes: &[(&'b str, Cow<'b, str>)],
    ignored: &[&str],
    settings: &OtlpSettings,
) -> Result<LabelList<'b>, LabelError> {
    let mut sorted: Vec<_> = attributes.iter().filter(|(key, _)| !ignored.contains(key)).collect();
    sorted.sort_by_key(|(key, _)| *key);
    let mut labels = LabelList::default();
    for (key, value) in sorted {
        let name = label_name(key, settings.strategy).ok_or_else(|| LabelError::Name((*key).to_owned()))?;
        let value = match labels.get(&name) {
            "" => value.clone(),
            earlier => Cow::Owned(format!("{earlier};{value}")),
        };
        labels.set(name, value);
    }
    Ok(labels)
}
