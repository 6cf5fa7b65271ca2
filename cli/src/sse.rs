//! Reads server-sent events (HTML standard, section 9.2), as far as the daemon writes them.

/// Longest event taken; a longer one is a broken daemon. An [`netengine_proto::api::Event`] is a few hundred bytes.
const EVENT_BYTES: usize = 1 << 20;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// The field `event`; empty when absent.
    pub name: String,
    /// The `data` lines, joined by line feeds.
    pub data: String,
}

/// Why the stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event past the bound.
    #[error("an event is longer than {EVENT_BYTES} bytes")]
    TooLong,
    /// Text is UTF-8 by definition.
    #[error("an event is not UTF-8")]
    NotUtf8,
}

/// Turns chunks of bytes, cut anywhere, into events.
#[derive(Debug, Default)]
pub struct SseReader {
    /// Bytes after the last complete line.
    partial: Vec<u8>,
    /// The last line ended with CR; a LF that follows belongs to it.
    after_cr: bool,
    event: SseEvent,
    has_data: bool,
}

impl SseReader {
    /// Takes a chunk and gives the events it completes.
    ///
    /// # Errors
    /// [`SseError`]; the reader must not be used after that.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<SseEvent>, SseError> {
        let mut events = Vec::new();
        for &byte in chunk {
            let is_second_half = std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n';
            if is_second_half {
                continue;
            }
            if byte == b'\n' || byte == b'\r' {
                let line = std::mem::take(&mut self.partial);
                events.extend(self.line(&line)?);
            } else if self.partial.len() + self.event.data.len() >= EVENT_BYTES {
                return Err(SseError::TooLong);
            } else {
                self.partial.push(byte);
            }
        }
        Ok(events)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<SseEvent>, SseError> {
        let line = std::str::from_utf8(line).map_err(|_| SseError::NotUtf8)?;
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.event.name),
            // A comment (empty field) keeps the connection alive; `id` is in the data too; `retry` is not ours.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nevent: note\r\ndata: {\"a\":\r\ndata:1}\r\n\r\nid: 7\ndata: é\n\nevent: lost\n\n";

    fn expected() -> Vec<SseEvent> {
        vec![
            SseEvent { name: "note".into(), data: "{\"a\":\n1}".into() },
            SseEvent { name: String::new(), data: "é".into() },
        ]
    }

    #[test]
    fn events_do_not_depend_on_how_the_stream_is_cut() {
        for size in 1..=STREAM.len() {
            let mut reader = SseReader::default();
            let events: Vec<_> =
                STREAM.as_bytes().chunks(size).flat_map(|chunk| reader.feed(chunk).expect("reads")).collect();
            assert_eq!(events, expected(), "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused_not_stored() {
        let mut reader = SseReader::default();
        let result = (0..=EVENT_BYTES / 4096).try_for_each(|_| reader.feed(&[b'x'; 4096]).map(drop));
        assert_eq!(result, Err(SseError::TooLong));
        let mut reader = SseReader::default();
        let line = [b"data: ", &[b'x'; 4090][..], b"\n"].concat();
        let result = (0..=EVENT_BYTES / 4000).try_for_each(|_| reader.feed(&line).map(drop));
        assert_eq!(result, Err(SseError::TooLong), "many short lines of one event");
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        assert_eq!(SseReader::default().feed(b"data: \xff\n"), Err(SseError::NotUtf8));
    }
}
