//! What a tracer with `--plain` writes while it runs.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// The first line of a block: the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// When it was read.
    pub at: SystemTime,
    /// `GUEST KERNEL  R01 …`
    pub text: String,
}

/// The headlines of all blocks, as they come, and all that was written so far.
#[derive(Debug)]
pub(super) struct Headlines {
    headlines: Receiver<Headline>,
    /// In one line: sentences are broken anywhere.
    said: Arc<Mutex<String>>,
}

impl Headlines {
    /// Reads them until the tracer ends.
    pub(super) fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, headlines) = channel();
        let said = Arc::new(Mutex::new(String::new()));
        let all = Arc::clone(&said);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(mut all) = all.lock() {
                    all.push_str(line.trim());
                    all.push(' ');
                }
                let Some(text) = headline(&line) else { continue };
                let at = SystemTime::now();
                if sender
                    .send(Headline {
                        at,
                        text: text.to_owned(),
                    })
                    .is_err()
                {
                    return;
                }
            }
        });
        Self { headlines, said }
    }

    /// The first of these parts that was not written so far after those before it; `None` where all were.
    pub(super) fn unsaid(&self, parts: &[String]) -> Option<String> {
        let said = self.said.lock().ok()?;
        let mut rest = said.as_str();
        for part in parts {
            let Some(place) = rest.find(part.as_str()) else {
                return Some(part.clone());
            };
            rest = &rest[place + part.len()..];
        }
        None
    }

    /// The next one that is wanted; `None` where the tracer has ended, or the time is up. Those before it are passed over.
    pub(super) fn next(&self, end: Instant, wanted: impl Fn(&str) -> bool) -> Option<Headline> {
        loop {
            let left = end
                .checked_duration_since(Instant::now())
                .unwrap_or(Duration::ZERO);
            let next = self.headlines.recv_timeout(left).ok()?;
            if wanted(&next.text) {
                return Some(next);
            }
        }
    }
}

/// What stands behind the time in the first line of a block; all others are indented.
fn headline(line: &str) -> Option<&str> {
    let (time, text) = line.split_once(" UTC  ")?;
    (time.len() == "00:00:00".len() && !time.starts_with(' ')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::headline;

    #[test]
    fn the_first_line_of_a_block_is_told_from_the_others() {
        assert_eq!(
            headline("04:01:15 UTC  GUEST KERNEL  R01  Kernel found the socket"),
            Some("GUEST KERNEL  R01  Kernel found the socket")
        );
        for other in ["  since 04:01:15 UTC  (12 s)", "  total  arrived 3", ""] {
            assert_eq!(headline(other), None, "{other}");
        }
    }
}
