//! Random numbers that can be asked for in any order.
//!
//! A [`Seed`] is a number and a whole tree of seeds below it: child `i` is a hash of the two. What is drawn depends
//! only on the path from the root, never on what was drawn before, so that blocks can be made at the same time, and one
//! of them alone comes out the same. The hash is the output step of `SplitMix64` (Steele, Lea and Flood, 2014).

/// A random number with more behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed(u64);

impl Seed {
    /// The root of a tree.
    pub fn new(number: u64) -> Self {
        Self(scramble(number))
    }

    /// One of 2⁶⁴ independent seeds below this one.
    #[inline]
    pub fn child(self, number: u64) -> Self {
        Self(scramble(self.0 ^ scramble(number)))
    }

    /// The child that a name stands for.
    pub fn named(self, name: &str) -> Self {
        name.bytes().fold(self, |seed, byte| seed.child(u64::from(byte)))
    }

    /// All 64 bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// In [0, 1), a multiple of 2⁻⁵³.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn fraction(self) -> f64 {
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// In [-1, 1).
    #[inline]
    pub fn signed_fraction(self) -> f64 {
        self.fraction() * 2.0 - 1.0
    }

    /// In `0..limit`, and 0 where that is empty.
    pub fn below(self, limit: u64) -> u64 {
        ((u128::from(self.0) * u128::from(limit)) >> 64) as u64
    }

    /// As [`below`](Self::below), for times.
    pub fn below_ms(self, limit: i64) -> i64 {
        self.below(limit.max(0).cast_unsigned()).cast_signed()
    }
}

#[inline]
fn scramble(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread() {
        let root = Seed::new(1);
        let mean = (0..10_000).map(|i| root.child(i).fraction()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let mut seen = [0_u32; 7];
        (0..7000).for_each(|i| seen[usize::try_from(root.child(i).below(7)).unwrap()] += 1);
        assert!(seen.iter().all(|n| (850..1150).contains(n)), "{seen:?}");
        assert_eq!(root.below(0), 0);
        assert_ne!(root.named("ab"), root.named("ba"));
        assert_eq!(Seed::new(1), root);
    }
}
