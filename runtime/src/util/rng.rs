//! The victim choice needs a random start, not a good generator: xorshift64*
//! (Marsaglia 2003, multiplier from Vigna 2014).

/// A small generator, one per P.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// `seed` may be anything; it is mixed so that neighbouring seeds differ.
    pub(crate) fn new(seed: u64) -> Rng {
        Rng((seed.wrapping_add(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1)
    }

    /// Goes on from a `state`.
    #[cfg(not(loom))]
    pub(crate) fn resume(state: u64) -> Rng {
        Rng(state)
    }

    /// Where it is; never 0.
    #[cfg(not(loom))]
    pub(crate) fn state(&self) -> u64 {
        self.0
    }

    /// A number below `n`; `n` is at least 1.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        ((high * n as u64) >> 32) as usize
    }
}
