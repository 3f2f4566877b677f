//! Where the choices of a run come from: a fuzzer's bytes first, then all from one number.

pub(crate) struct Dice {
    given: std::vec::IntoIter<u8>,
    state: u64,
}

impl Dice {
    /// xorshift.
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self {
            given: Vec::new().into_iter(),
            state: seed | 1,
        }
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            given: Vec::from(bytes).into_iter(),
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        let given = self.given.next().filter(|_| n <= 256);
        if let Some(byte) = given {
            return usize::from(byte) % n;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % n as u64).expect("n is a usize")
    }

    /// How much of `n` bytes moves: often all, often little.
    pub(crate) fn chunk(&mut self, n: usize) -> usize {
        match self.below(4) {
            0 => n.min(1 + self.below(4)),
            1 => 1 + self.below(n),
            _ => n,
        }
    }
}
