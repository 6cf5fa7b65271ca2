//! Suites of the firewall lab: what is taken is whole and can be run, what is not says where.

use netengine_suite::load;

/// One input.
pub fn target(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let read = || load("s.yaml", text, &mut |name| Ok(format!("table ip t {{ }} # {name}")));
    let first = read();
    assert_eq!(first, read(), "the same text is read in two ways");
    match first {
        Ok(suite) => {
            assert!(!suite.cases.is_empty(), "a suite without cases was taken");
            for case in &suite.cases {
                assert_eq!(case.request.check(), Ok(()), "a case that cannot be run was taken");
                assert_eq!(case.request.packets.len(), case.packets.len(), "packets without expectations");
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "it was refused without a word");
            // YAML ends a line at a lone return too (YAML 1.2, section 5.4).
            let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count() as u32;
            assert!(mistakes.iter().all(|mistake| mistake.line <= lines), "{mistakes:?}");
        }
    }
}
