//! Postal addresses: where a customer's parcels go.

use onrush_grpc::shipping::v1 as wire;
use onrush_proto::{CustomerId, DocKey, Text};
use serde::{Deserialize, Serialize};

use crate::field::{FieldError, shown};

/// A postal address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Address {
    /// Who receives.
    pub name: String,
    /// Street and number.
    pub street: String,
    /// More of the street.
    #[serde(default)]
    pub street2: String,
    /// Town.
    pub city: String,
    /// State or province.
    #[serde(default)]
    pub state: String,
    /// Postal code.
    #[serde(default)]
    pub postal_code: String,
    /// Two capital letters (ISO 3166-1).
    pub country: String,
    /// For the carrier.
    #[serde(default)]
    pub phone: String,
}

impl Address {
    /// The key of a customer's address.
    pub fn key(customer: &CustomerId) -> DocKey {
        // 8 + 39 bytes always fit.
        Text::new(&format!("address/{customer}")).unwrap_or_default()
    }

    /// Reads an address of a request; `path` is where it stands there.
    pub fn read(path: &str, found: Option<&wire::Address>) -> Result<Self, FieldError> {
        let Some(found) = found else {
            return Err(FieldError::invalid(path, "an address", "none").because("MISSING_FIELD"));
        };
        let at = |leaf: &str| format!("{path}.{leaf}");
        Ok(Self {
            name: needed(&at("name"), &found.name, 100)?,
            street: needed(&at("street"), &found.street, 200)?,
            street2: plain(&at("street2"), &found.street2, 200)?,
            city: needed(&at("city"), &found.city, 100)?,
            state: plain(&at("state"), &found.state, 60)?,
            postal_code: plain(&at("postal_code"), &found.postal_code, 20)?,
            country: country(&at("country_code"), &found.country_code)?,
            phone: plain(&at("phone"), &found.phone, 40)?,
        })
    }

    /// As a message.
    pub fn message(&self) -> wire::Address {
        wire::Address {
            name: self.name.clone(),
            street: self.street.clone(),
            street2: self.street2.clone(),
            city: self.city.clone(),
            state: self.state.clone(),
            postal_code: self.postal_code.clone(),
            country_code: self.country.clone(),
            phone: self.phone.clone(),
        }
    }
}

fn needed(path: &str, text: &str, max: usize) -> Result<String, FieldError> {
    if text.trim().is_empty() {
        return Err(FieldError::invalid(path, format!("1 to {max} bytes"), "none").because("MISSING_FIELD"));
    }
    plain(path, text, max)
}

/// A line of text: what is printed on a label holds no control characters.
pub(super) fn plain(path: &str, text: &str, max: usize) -> Result<String, FieldError> {
    if text.len() > max {
        return Err(FieldError::invalid(path, format!("at most {max} bytes"), text.len().to_string()));
    }
    if text.chars().any(char::is_control) {
        return Err(FieldError::invalid(path, "text without control characters", shown(text)));
    }
    Ok(text.trim().to_owned())
}

fn country(path: &str, text: &str) -> Result<String, FieldError> {
    match text.as_bytes() {
        [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(text.to_owned()),
        [] => {
            let expected = "two capital letters (ISO 3166-1)";
            Err(FieldError::invalid(path, expected, "none").because("MISSING_FIELD"))
        }
        _ => Err(FieldError::invalid(path, "two capital letters (ISO 3166-1)", shown(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_refused_by_path() {
        let good = wire::Address {
            name: "Ada".into(),
            street: "Main Street 1".into(),
            city: "London".into(),
            country_code: "GB".into(),
            ..Default::default()
        };
        assert_eq!(Address::read("to", Some(&good)).unwrap().message(), good);
        let long = "x".repeat(201);
        type Spoil<'a> = &'a dyn Fn(&mut wire::Address);
        let table: [(Spoil<'_>, &str, &str); 6] = [
            (&|to| to.name.clear(), "to.name", "MISSING_FIELD"),
            (&|to| to.name = " \t ".into(), "to.name", "MISSING_FIELD"),
            (&|to| to.street = long.clone(), "to.street", "INVALID_FIELD"),
            (&|to| to.city = "Lon\ndon".into(), "to.city", "INVALID_FIELD"),
            (&|to| to.country_code = "gb".into(), "to.country_code", "INVALID_FIELD"),
            (&|to| to.country_code.clear(), "to.country_code", "MISSING_FIELD"),
        ];
        for (spoil, path, reason) in table {
            let mut bad = good.clone();
            spoil(&mut bad);
            let error = Address::read("to", Some(&bad)).unwrap_err();
            assert_eq!((error.path.as_str(), error.reason), (path, reason));
        }
        assert_eq!(Address::read("to", None).unwrap_err().path, "to");
    }
}
