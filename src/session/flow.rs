//! What goes on to the other side: runs of the input as they are, with our own bytes between them.

/// Collects output. As long as only one run of the input is passed nothing is copied.
#[derive(Debug)]
pub struct Flow<'a> {
    input: &'a [u8],
    run: std::ops::Range<usize>,
    out: &'a mut Vec<u8>,
}

impl<'a> Flow<'a> {
    /// `out` is a scratch buffer; what is in it goes first.
    pub fn new(input: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        Self {
            input,
            run: 0..0,
            out,
        }
    }

    /// Passes a range of the input on.
    #[inline]
    pub fn pass(&mut self, range: std::ops::Range<usize>) {
        if self.run.end == range.start {
            self.run.end = range.end;
        } else if self.run.is_empty() {
            self.run = range;
        } else {
            self.settle();
            self.run = range;
        }
    }

    /// The buffer to append own bytes to, in order behind what was passed.
    pub fn own(&mut self) -> &mut Vec<u8> {
        self.settle();
        self.out
    }

    fn settle(&mut self) {
        self.out.extend_from_slice(&self.input[self.run.clone()]);
        self.run.start = self.run.end;
    }

    /// All that goes on, in one piece.
    pub fn finish(self) -> &'a [u8] {
        if self.out.is_empty() {
            return &self.input[self.run];
        }
        self.out.extend_from_slice(&self.input[self.run]);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_own_bytes_keep_their_order() {
        let mut out = Vec::new();
        let mut flow = Flow::new(b"abcdef", &mut out);
        flow.pass(0..1);
        flow.pass(1..2);
        flow.own().extend_from_slice(b"X");
        flow.pass(3..4);
        flow.pass(5..6);
        assert_eq!(flow.finish(), b"abXdf");
    }
}
