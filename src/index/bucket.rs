//! All words of a bucket looked at together: which resemble a fingerprint, and which are empty.
//!
//! One instruction compares four words. What a search saves in instructions lets the processor look
//! further ahead, to the misses of the next operation: with two dozen less here, and the view of a
//! record at 32 bytes instead of 112, a get of 3 million records took 225 ns instead of 366.

use super::entry::{BUCKET_SLOTS, Slot, Word};

/// Two masks, the first slot at bit 0: words that [resemble](Word::resembles) `fingerprint`, and
/// [empty](Word::is_empty) ones. Hints, as [`Slot::peek`] gives them.
#[inline]
pub fn scan(slots: &[Slot; BUCKET_SLOTS], fingerprint: Word) -> (u32, u32) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri, portable))))]
    // SAFETY: SSE2 is part of x86_64.
    return unsafe { sse2::scan(slots, fingerprint.raw()) };
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, shuttle, miri, portable)))))]
    one_by_one(slots, fingerprint)
}

#[cfg(any(test, not(all(target_arch = "x86_64", not(any(loom, shuttle, miri, portable))))))]
fn one_by_one(slots: &[Slot; BUCKET_SLOTS], fingerprint: Word) -> (u32, u32) {
    let (mut matches, mut empties) = (0, 0);
    for (at, word) in slots.iter().map(Slot::peek).enumerate() {
        matches |= u32::from(word.resembles(fingerprint)) << at;
        empties |= u32::from(word.is_empty()) << at;
    }
    (matches, empties)
}

/// Words in two halves, four of each kind in a register. What makes two words resemble each other
/// lies in the upper half.
#[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri, portable))))]
mod sse2 {
    use crate::index::entry::{BUCKET_SLOTS, FROZEN, Slot, TURN_SHIFT};
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi32,
        _mm_movemask_ps, _mm_or_si128, _mm_set1_epi32, _mm_setzero_si128, _mm_shuffle_ps,
        _mm_srli_epi32, _mm_xor_si128,
    };

    const HALF_BITS: u32 = 32;
    const IRRELEVANT: i32 = (TURN_SHIFT - HALF_BITS).cast_signed();

    #[inline]
    #[target_feature(enable = "sse2")]
    pub fn scan(slots: &[Slot; BUCKET_SLOTS], fingerprint: u64) -> (u32, u32) {
        let [first, second, third, fourth] = peek(slots);
        let low = four(first, second, fingerprint);
        let high = four(third, fourth, fingerprint);
        (low.0 | high.0 << 4, low.1 | high.1 << 4)
    }

    /// All words, two to a register: eight relaxed loads in four instructions.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn peek(slots: &[Slot; BUCKET_SLOTS]) -> [__m128i; 4] {
        let (first, second, third, fourth);
        // SAFETY: reads the eight slots and nothing else. Other threads may write them, by atomic
        // stores of a word: to the compiler this is no access that could race, and the processor
        // reads each half of an aligned 16 bytes as one word.
        unsafe {
            asm!(
                "movdqu {first}, [{slots}]",
                "movdqu {second}, [{slots} + 16]",
                "movdqu {third}, [{slots} + 32]",
                "movdqu {fourth}, [{slots} + 48]",
                slots = in(reg) slots.as_ptr(),
                first = out(xmm_reg) first,
                second = out(xmm_reg) second,
                third = out(xmm_reg) third,
                fourth = out(xmm_reg) fourth,
                options(nostack, preserves_flags, readonly),
            );
        }
        [first, second, third, fourth]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn four(front: __m128i, back: __m128i, fingerprint: u64) -> (u32, u32) {
        let (front, back) = (_mm_castsi128_ps(front), _mm_castsi128_ps(back));
        let lower = _mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(front, back));
        let upper = _mm_castps_si128(_mm_shuffle_ps::<0b11_01_11_01>(front, back));
        let wanted = _mm_set1_epi32((fingerprint >> HALF_BITS) as i32);
        let difference = _mm_srli_epi32::<IRRELEVANT>(_mm_xor_si128(upper, wanted));
        let thawed = _mm_and_si128(upper, _mm_set1_epi32((!FROZEN >> HALF_BITS) as i32));
        (zeros(difference), zeros(_mm_or_si128(lower, thawed)))
    }

    /// A bit for each of the four that is zero.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn zeros(four: __m128i) -> u32 {
        let are_zero = _mm_cmpeq_epi32(four, _mm_setzero_si128());
        _mm_movemask_ps(_mm_castsi128_ps(are_zero)).cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_alike_one_by_one_and_together() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let fingerprint = Word::from_raw(random());
            let slots: [Slot; BUCKET_SLOTS] = std::array::from_fn(|_| {
                let (kind, bit) = (random() % 4, 1 << (random() % 64));
                Slot::new(Word::from_raw(match kind {
                    0 => random(),
                    1 => fingerprint.raw() ^ bit,
                    2 => bit,
                    _ => 0,
                }))
            });
            assert_eq!(scan(&slots, fingerprint), one_by_one(&slots, fingerprint), "{slots:?}");
        }
    }
}
