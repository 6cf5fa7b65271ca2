//! Parameters of queries and forms (`application/x-www-form-urlencoded`).

/// Most parameters of one request.
const MAX_PARAMETERS: usize = 64;

/// The parameters of a request, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

/// Why a query or form is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A name stands twice (RFC 6749, 3.1: must not be included more than once).
    #[error("a parameter is given twice")]
    Twice,
    /// More than 64 parameters.
    #[error("too many parameters")]
    TooMany,
    /// Bytes that are not UTF-8.
    #[error("a parameter is not text")]
    NotText,
}

impl Params {
    /// Reads parameters. One without a value counts as absent (RFC 6749, 3.1).
    ///
    /// # Errors
    /// [`FormError`] with the first fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        let mut list: Vec<(String, String)> = Vec::new();
        for (count, (name, value)) in form_urlencoded::parse(bytes).enumerate() {
            if count == MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            // The decoder replaces what is not UTF-8 by this mark.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(FormError::NotText);
            }
            if value.is_empty() {
                continue;
            }
            if list.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Twice);
            }
            list.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(list))
    }

    /// The value of `name`, if present and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The parameters as a query again, every byte escaped anew.
    pub fn to_query(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

/// `uri` with parameters added to its query; what it has stays (RFC 6749, 3.1.2).
pub fn with_query(uri: &str, pairs: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let joint = match uri.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{uri}{joint}{query}")
}
