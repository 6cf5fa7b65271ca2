//! The words of verdicts in suites, and which verdict meets an expectation.

use netengine_lab_proto::Verdict;

/// All verdicts with their words.
pub const WORDS: [(&str, Verdict); 7] = [
    ("ACCEPT", Verdict::Accept),
    ("DROP", Verdict::Drop),
    ("REJECT", Verdict::Reject),
    ("STOLEN", Verdict::Stolen),
    ("HELD", Verdict::Held),
    ("LOST", Verdict::Lost),
    ("INCONCLUSIVE", Verdict::Inconclusive),
];

/// The word of a verdict.
pub fn word(verdict: Verdict) -> &'static str {
    WORDS.iter().find(|(_, of)| *of == verdict).map_or("INCONCLUSIVE", |(word, _)| word)
}

/// The verdict of this word, in any case; `None` for any other. Nobody can expect to learn nothing, so `INCONCLUSIVE` is no
/// expectation.
pub fn expectable(word: &str) -> Option<Verdict> {
    let (_, found) = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word))?;
    (*found != Verdict::Inconclusive).then_some(*found)
}

/// What is expected of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expected {
    /// It does not get through: `expected_verdict: DROP` or `REJECT`, as suites of network-sandbox-engine mean both.
    Stopped(Verdict),
    /// Exactly this.
    Exactly(Verdict),
}

impl Expected {
    /// From `expected_verdict`.
    pub fn lenient(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Drop | Verdict::Reject => Self::Stopped(verdict),
            other => Self::Exactly(other),
        }
    }

    /// The verdict that was written.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Stopped(verdict) | Self::Exactly(verdict) => verdict,
        }
    }

    /// Whether `seen` meets it. What was not observed meets nothing.
    pub fn is_met_by(self, seen: Verdict) -> bool {
        match self {
            Self::Stopped(_) => matches!(seen, Verdict::Drop | Verdict::Reject),
            Self::Exactly(verdict) => verdict == seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_observed_meets_no_expectation() {
        for (word, verdict) in WORDS.into_iter().filter(|(_, verdict)| *verdict != Verdict::Inconclusive) {
            assert!(!Expected::lenient(verdict).is_met_by(Verdict::Inconclusive));
            assert!(!Expected::Exactly(verdict).is_met_by(Verdict::Inconclusive));
            assert_eq!(expectable(&word.to_lowercase()), Some(verdict));
            assert_eq!(super::word(verdict), word);
        }
        assert_eq!(expectable("inconclusive"), None);
    }

    #[test]
    fn the_lenient_form_takes_a_drop_for_a_reject_and_the_exact_one_does_not() {
        assert!(Expected::lenient(Verdict::Drop).is_met_by(Verdict::Reject));
        assert!(Expected::lenient(Verdict::Reject).is_met_by(Verdict::Drop));
        assert!(!Expected::Exactly(Verdict::Drop).is_met_by(Verdict::Reject));
        assert!(!Expected::lenient(Verdict::Drop).is_met_by(Verdict::Lost));
        assert!(!Expected::lenient(Verdict::Accept).is_met_by(Verdict::Lost));
    }
}
