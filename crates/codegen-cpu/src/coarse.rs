// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Powers of two that are as near as an operator asks for and no nearer: the polynomials of weights, and what bounds them.
//!
//! In: an accuracy. Out: coefficients from the constant on, for 2^x = 2^n p(x - n). p is of degree 3 (relative error 7.5e-5) or 2
//! (1.73e-3, 1.2e-3 rms), by Remez's exchange weighted by 2^-x; errors of weights are as often above as below, 6e-5 as mean at degree 2.
//! p(0) is not 1: a weight meets only weights made alike, and what is multiplied up over many steps is not made here.

use attnc_tile::core::Accuracy;

/// On [0, 1), where n is floor(x).
pub(crate) const ABOVE_3: [f32; 4] = [0.999_925_2, 0.695_833_56, 0.226_067_16, 0.078_024_52];
/// The same of degree 2.
pub(crate) const ABOVE_2: [f32; 3] = [1.001_724_7, 0.657_636_3, 0.337_189_44];
/// On [-1/2, 1/2], where n is the whole number nearest to x.
const AROUND_3: [f32; 4] = [0.999_928_06, 0.693_260_97, 0.242_611_13, 0.055_171_67];
/// The same of degree 2.
const AROUND_2: [f32; 3] = [1.000_443_1, 0.703_448, 0.238_428_94];

/// p on [0, 1); none where no coarser one than usual is asked for.
pub(crate) fn above(accuracy: Accuracy) -> Option<&'static [f32]> {
    match accuracy {
        Accuracy::Full => None,
        Accuracy::Bits13 => Some(&ABOVE_3),
        Accuracy::Bits9 => Some(&ABOVE_2),
    }
}

/// p on [-1/2, 1/2], likewise.
pub(crate) fn around(accuracy: Accuracy) -> Option<&'static [f32]> {
    match accuracy {
        Accuracy::Full => None,
        Accuracy::Bits13 => Some(&AROUND_3),
        Accuracy::Bits9 => Some(&AROUND_2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within the accuracy, and not so far within that a polynomial of a lower degree would do.
    #[test]
    fn polynomials_are_as_near_as_they_say_and_no_nearer() {
        for (accuracy, bound) in [(Accuracy::Bits13, 7.5e-5), (Accuracy::Bits9, 1.73e-3)] {
            assert!(bound < [2f64.powi(-13), 2f64.powi(-9)][usize::from(bound > 1e-3)]);
            for (p, from) in [(above(accuracy), 0.0), (around(accuracy), -0.5)] {
                let error = |i: u32| {
                    let f = from + f64::from(i) / 65536.0;
                    let p = p.expect("a coarse one").iter().rev();
                    p.fold(0.0, |y, c| y * f + f64::from(*c)) / f.exp2() - 1.0
                };
                let all = || (0..=65536).map(error);
                let most = all().fold(0.0, |most: f64, e| most.max(e.abs()));
                assert!(
                    most < bound && most > 0.99 * bound,
                    "{most:e} from {from}, {accuracy:?}"
                );
                let mean = all().sum::<f64>() / 65537.0;
                assert!(mean.abs() < 6e-5, "{mean:e} from {from}, {accuracy:?}");
            }
        }
        assert!(above(Accuracy::Full).is_none() && around(Accuracy::Full).is_none());
    }
}
