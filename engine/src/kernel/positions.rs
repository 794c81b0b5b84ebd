//! Where in a series something happens, and which of these places a moving window holds.

/// Ascending indices into a series' samples, and the part of them that the last window held.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    at: Vec<usize>,
    lo: usize,
    hi: usize,
    /// The first that no window has left behind; `usize::MAX` where all are.
    next: usize,
}

impl Default for Positions {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Positions {
    /// Of ascending indices.
    pub fn new(at: Vec<usize>) -> Self {
        let next = at.first().copied().unwrap_or(usize::MAX);
        Self { at, lo: 0, hi: 0, next }
    }

    /// The samples that are `wanted`.
    pub fn of_samples<T>(samples: &[T], wanted: impl Fn(&T) -> bool) -> Self {
        let at = samples.iter().enumerate().filter(|(_, sample)| wanted(sample)).map(|(i, _)| i).collect();
        Self::new(at)
    }

    /// The samples that differ from the one before them in the way that `between(before, sample)` tells.
    pub fn of_pairs<T>(samples: &[T], between: impl Fn(&T, &T) -> bool) -> Self {
        // such pairs are rare: blocks are asked without branches first, which vectorises
        const BLOCK: usize = 32;
        let mut at = Vec::new();
        let later = samples.get(1..).unwrap_or(&[]);
        for (block, (befores, nows)) in samples.chunks(BLOCK).zip(later.chunks(BLOCK)).enumerate() {
            let any = befores.iter().zip(nows).fold(false, |any, (before, now)| any | between(before, now));
            if any {
                let found = befores.iter().zip(nows).enumerate().filter(|(_, (before, now))| between(before, now));
                at.extend(found.map(|(i, _)| block * BLOCK + i + 1));
            }
        }
        Self::new(at)
    }

    /// Those in `lo..hi`. From call to call neither border may go back.
    #[inline]
    pub fn within(&mut self, lo: usize, hi: usize) -> &[usize] {
        // positions are rare, so most windows end before the next
        if hi <= self.next {
            return &[];
        }
        self.advance(lo, hi)
    }

    /// As [`within`](Self::within), where one may lie inside or be left behind. Kept out of the kernels' loops.
    #[cold]
    fn advance(&mut self, lo: usize, hi: usize) -> &[usize] {
        while self.hi < self.at.len() && self.at[self.hi] < hi {
            self.hi += 1;
        }
        while self.lo < self.hi && self.at[self.lo] < lo {
            self.lo += 1;
        }
        self.next = self.at.get(self.lo).copied().unwrap_or(usize::MAX);
        &self.at[self.lo..self.hi]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_what_lies_inside() {
        let mut drops = Positions::of_pairs(&[3, 1, 2, 0, 5, 4], |before, now| now < before);
        assert_eq!(drops.within(0, 2), [1]);
        assert_eq!(drops.within(1, 4), [1, 3]);
        assert_eq!(drops.within(2, 4), [3]);
        assert_eq!(drops.within(4, 5), [0_usize; 0]);
        assert_eq!(drops.within(4, 6), [5]);
        assert_eq!(Positions::of_samples(&[1, -1, -2], |v| *v < 0).within(0, 3), [1, 2]);
    }
}
