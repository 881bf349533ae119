//! [`Version`]: which version of a file an answer is of, and whether two answers are of the same one. Two parts of a
//! file are put together only then (RFC 9110, sections 8.8, 13.1.5, 14.5 and 15.3.7.3). Knows no file and no network.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::answer::Head;

/// The version of a file, as an answer describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Version {
    /// The address that answered, after redirects and without its query.
    pub(super) place: String,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// `true` if `last_modified` names one version: it is at least a second before the answer was made. A file that
    /// changes twice within one second may have one date for two versions.
    pub(super) settled: bool,
    /// The size of the whole file.
    pub(super) total: Option<u64>,
}

impl Version {
    /// The version that `head` is of. `total` is the size of the whole file, where the answer says it.
    pub(super) fn of(head: &Head, total: Option<u64>) -> Self {
        let date = |text: &Option<String>| httpdate::parse_http_date(text.as_deref()?.trim()).ok();
        let answered = date(&head.date).unwrap_or_else(SystemTime::now);
        let settled = date(&head.last_modified).is_some_and(|modified| modified + Duration::from_secs(1) <= answered);
        Self {
            place: head.place.clone(),
            etag: head.etag.clone(),
            last_modified: head.last_modified.clone(),
            settled,
            total,
        }
    }

    /// The strong validator, which `If-Range` may name: the ETag if it is strong; the date if there is no ETag.
    pub(super) fn validator(&self) -> Option<&str> {
        match &self.etag {
            Some(etag) => Some(etag.as_str()).filter(|etag| !etag.starts_with("W/")),
            None => self.last_modified.as_deref().filter(|_| self.settled),
        }
    }

    /// Returns `true` if `other` is surely of the same version: it has the same strong validator, and nothing in it
    /// differs. A date is a validator only between two answers from the same address.
    pub(super) fn is(&self, other: &Self) -> bool {
        let proven = match (&self.etag, self.validator()) {
            (_, None) => false,
            (Some(_), Some(etag)) => other.etag.as_deref() == Some(etag),
            (None, Some(date)) => other.last_modified.as_deref() == Some(date) && other.place == self.place,
        };
        proven && self.may_be(other)
    }

    /// Returns `true` if nothing that both answers say differs.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        agree(&self.etag, &other.etag)
            && agree(&self.last_modified, &other.last_modified)
            && agree(&self.total, &other.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
    const NEW: &str = "Thu, 22 Oct 2015 07:28:00 GMT";

    fn version(etag: Option<&str>, date: Option<&str>, total: Option<u64>) -> Version {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Version {
            place: "http://h/f".to_owned(),
            etag: own(etag),
            last_modified: own(date),
            settled: date.is_some(),
            total,
        }
    }

    #[test]
    fn a_weak_etag_is_no_validator_even_beside_a_date() {
        assert_eq!(version(Some("\"a\""), None, None).validator(), Some("\"a\""));
        assert_eq!(version(Some("W/\"a\""), None, None).validator(), None);
        assert_eq!(version(Some("W/\"a\""), Some(OLD), None).validator(), None);
        assert_eq!(version(None, Some(OLD), None).validator(), Some(OLD));
        assert_eq!(version(None, None, Some(5)).validator(), None);
    }

    #[test]
    fn a_date_within_the_second_of_the_answer_is_no_validator() {
        let head = |date: Option<&str>| Head {
            last_modified: Some(OLD.to_owned()),
            date: date.map(str::to_owned),
            ..Head::default()
        };
        assert_eq!(Version::of(&head(Some(OLD)), None).validator(), None);
        assert_eq!(Version::of(&head(Some(NEW)), None).validator(), Some(OLD));
        assert_eq!(Version::of(&head(None), None).validator(), Some(OLD), "without a date the answer is of now");
        let odd = Head { last_modified: Some("last week".to_owned()), ..Head::default() };
        assert_eq!(Version::of(&odd, None).validator(), None);
    }

    #[test]
    fn only_the_same_strong_validator_proves_the_same_version() {
        let tagged = version(Some("\"a\""), Some(OLD), Some(9));
        assert!(tagged.is(&version(Some("\"a\""), Some(OLD), Some(9))));
        assert!(tagged.is(&version(Some("\"a\""), None, None)), "a 206 may leave out the rest");
        let others = [
            version(Some("\"b\""), Some(OLD), Some(9)),
            version(Some("W/\"a\""), Some(OLD), Some(9)),
            version(None, Some(OLD), Some(9)),
            version(Some("\"a\""), Some(NEW), Some(9)),
            version(Some("\"a\""), Some(OLD), Some(10)),
        ];
        assert!(others.iter().all(|other| !tagged.is(other)));
        let dated = version(None, Some(OLD), Some(9));
        assert!(dated.is(&version(None, Some(OLD), Some(9))));
        assert!(!dated.is(&version(None, Some(NEW), Some(9))) && !dated.is(&version(None, None, Some(9))));
        assert!(!dated.is(&Version { place: "http://other/f".to_owned(), ..dated.clone() }));
        let bare = version(None, None, Some(9));
        assert!(!bare.is(&bare) && bare.may_be(&bare));
        assert!(!version(Some("W/\"a\""), None, None).is(&version(Some("W/\"a\""), None, None)));
    }
}
