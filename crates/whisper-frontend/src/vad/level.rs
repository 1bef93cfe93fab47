// SPDX-License-Identifier: MPL-2.0
//! The detector's own automatic gain: both networks are deaf to speech far below full scale.
//!
//! They hear speech alike from about -15 to -35 dBFS, and lose it below (Silero half of it at
//! -50 dBFS). So a block is raised until the loudest of the last seconds reaches [`TARGET`]. Louder
//! audio stays as it is, to the bit. Nothing is ever raised beyond the target: an input far above
//! full scale upsets the LSTM for good.
//!
//! Three bounds keep what is no voice from becoming one:
//!
//! | bound | against |
//! |---|---|
//! | no block counts as quieter than [`LEAST`] | dither, the last bit's noise |
//! | the noise floor is not raised above [`FLOOR`] | room tone, hum, hiss |
//! | what lasts less than [`HOLD`] samples is not remembered | clicks, which would deafen it |

/// -32 dBFS, as the square of the RMS.
const TARGET: f32 = 6.3e-4;
/// -76 dBFS: with [`TARGET`] a gain of 44 dB at most.
const LEAST: f32 = 2.5e-8;
/// -45 dBFS.
const FLOOR: f32 = 3.2e-5;
/// What the power of the loudest block falls by in a second: 2 dB.
const FALL: f32 = 0.631;
/// What the power of the quietest block rises by in a second: 6 dB.
const RISE: f32 = 3.98;
/// Samples that must be loud together, 64 ms.
const HOLD: usize = 1024;
/// Blocks of [`HOLD`] samples, at most.
const MAX_HOLD: usize = 4;

/// The level of the last seconds. Powers are mean squares of samples of full scale ±1.
pub struct Level {
    loudest: f32,
    quietest: f32,
    fall: f32,
    rise: f32,
    /// Powers of the last blocks, as many as [`HOLD`] samples have.
    recent: [f32; MAX_HOLD],
    hold: usize,
}

impl Level {
    /// For blocks of `length` samples, from 256 on.
    pub fn new(length: usize) -> Self {
        let seconds = length as f32 / crate::mel::SAMPLE_RATE as f32;
        Self {
            loudest: 0.0,
            quietest: f32::INFINITY,
            fall: FALL.powf(seconds),
            rise: RISE.powf(seconds),
            recent: [0.0; MAX_HOLD],
            hold: (HOLD / length).clamp(1, MAX_HOLD),
        }
    }

    /// Begins a new run.
    pub fn reset(&mut self) {
        (self.loudest, self.quietest) = (0.0, f32::INFINITY);
        self.recent = [0.0; MAX_HOLD];
    }

    /// The factor for the next block, at least 1.
    pub fn gain(&mut self, block: &[f32]) -> f32 {
        let power = power(block);
        self.recent.copy_within(..MAX_HOLD - 1, 1);
        self.recent[0] = power;
        let lasting = self.recent[..self.hold]
            .iter()
            .copied()
            .fold(power, f32::min);
        self.loudest = lasting.max(self.loudest * self.fall);
        // Never zero, so that it rises again after digital silence.
        self.quietest = power.min(self.quietest.max(LEAST * 1e-3) * self.rise);
        let wanted = TARGET / self.loudest.max(power).max(LEAST);
        let bearable = FLOOR / self.quietest.max(f32::MIN_POSITIVE);
        wanted.min(bearable).max(1.0).sqrt()
    }
}

/// The mean square, in sixteen sums so that the compiler may use vectors.
fn power(block: &[f32]) -> f32 {
    let (lanes, rest) = block.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for lane in lanes {
        for (sum, sample) in sums.iter_mut().zip(lane) {
            *sum += sample * sample;
        }
    }
    let rest: f32 = rest.iter().map(|sample| sample * sample).sum();
    (sums.iter().sum::<f32>() + rest) / block.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 512;
    const BLOCKS_PER_SECOND: usize = 31;

    fn db(level: f32) -> f32 {
        10f32.powf(level / 20.0)
    }

    /// A block of this RMS, in dBFS.
    fn block(level: f32) -> [f32; LENGTH] {
        std::array::from_fn(|n| if n % 2 == 0 { db(level) } else { -db(level) })
    }

    /// Gains of blocks of these levels, in dB.
    fn gains(levels: impl IntoIterator<Item = f32>) -> Vec<f32> {
        let mut level = Level::new(LENGTH);
        let gains = levels.into_iter().map(|at| level.gain(&block(at)));
        gains.map(|gain| 20.0 * gain.log10()).collect()
    }

    /// Syllables: loud and quiet blocks in turns.
    fn speech(loud: f32, pauses: f32, seconds: usize) -> impl Iterator<Item = f32> {
        (0..seconds * BLOCKS_PER_SECOND).map(move |n| if n % 8 < 5 { loud } else { pauses })
    }

    #[test]
    fn level_of_loud_audio_stays() {
        let gains = gains(speech(-20.0, -60.0, 5));
        assert!(gains.iter().all(|gain| *gain == 0.0), "{gains:?}");
    }

    #[test]
    fn level_of_quiet_speech_reaches_the_target() {
        for loud in [-40.0, -55.0, -70.0] {
            let gains = gains(speech(loud, -100.0, 5));
            let late = &gains[20..];
            let near = |gain: &f32| (loud + gain - -32.0).abs() < 2.0;
            assert!(late.iter().all(near), "{loud}: {late:?}");
        }
    }

    #[test]
    fn level_of_steady_noise_stays_below_the_floor() {
        for noise in [-80.0, -70.0, -60.0, -50.0] {
            for gain in gains(vec![noise; 300]) {
                assert!(noise + gain < -44.0, "{noise}: {gain}");
            }
        }
        for gain in gains(vec![-30.0; 300]) {
            assert_eq!(gain, 0.0);
        }
    }

    #[test]
    fn level_rises_no_further_than_the_bound() {
        let gains = gains([vec![f32::NEG_INFINITY; 100], vec![-93.0; 100]].concat());
        assert!(gains.iter().all(|gain| (0.0..44.1).contains(gain)));
    }

    #[test]
    fn level_never_raises_a_block_beyond_the_target() {
        let levels = (0..400).map(|n| -90.0 + (n * 37 % 90) as f32);
        for (gain, level) in gains(levels.clone()).iter().zip(levels) {
            assert!(*gain == 0.0 || level + gain < -31.9, "{level}: {gain}");
        }
    }

    #[test]
    fn level_forgets_a_click_at_once_and_speech_slowly() {
        let before: Vec<f32> = speech(-60.0, -100.0, 2).collect();
        let after = |loud: &[f32]| {
            let levels = [&before[..], loud, &before[..]].concat();
            gains(levels)[before.len() + loud.len() + 3]
        };
        assert!(after(&[-5.0]) > 26.0);
        // The floor is known after the first pause.
        assert!(gains([-5.0].into_iter().chain(before.clone()))[12] > 26.0);
        assert_eq!(after(&[-5.0; 10]), 0.0);
        // 2 dB a second.
        let levels = vec![-12.0; 10].into_iter().chain(speech(-42.0, -90.0, 30));
        let gains = gains(levels);
        let at = |seconds: usize| gains[10 + seconds * BLOCKS_PER_SECOND];
        assert!(at(9) == 0.0 && (1.0..4.0).contains(&at(11)) && at(20) > 9.0);
    }
}
