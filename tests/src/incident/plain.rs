//! What a tracer with `--plain` writes while it runs.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
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

/// The headlines of all blocks, as they come.
#[derive(Debug)]
pub(super) struct Headlines(Receiver<Headline>);

impl Headlines {
    /// Reads them until the tracer ends.
    pub(super) fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
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
        Self(receiver)
    }

    /// The next one that is wanted; `None` where the tracer has ended, or the time is up. Those before it are passed over.
    pub(super) fn next(&self, end: Instant, wanted: impl Fn(&str) -> bool) -> Option<Headline> {
        loop {
            let left = end
                .checked_duration_since(Instant::now())
                .unwrap_or(Duration::ZERO);
            let next = self.0.recv_timeout(left).ok()?;
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
