//! A small Fourier transform of complex numbers, in place.

use std::f32::consts::TAU;

/// A complex number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Complex {
    pub(crate) re: f32,
    pub(crate) im: f32,
}

impl Complex {
    pub(crate) fn real(re: f32) -> Complex {
        Complex { re, im: 0.0 }
    }

    pub(crate) fn times(self, other: Complex) -> Complex {
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    pub(crate) fn conjugate(self) -> Complex {
        Complex { re: self.re, im: -self.im }
    }

    pub(crate) fn power(self) -> f32 {
        self.re * self.re + self.im * self.im
    }
}

/// The roots of unity for transforms of `len` numbers, a power of two.
pub(crate) fn twiddles(len: usize) -> Vec<Complex> {
    (0..len / 2)
        .map(|index| {
            let angle = -f64::from(TAU) * index as f64 / len as f64;
            Complex { re: angle.cos() as f32, im: angle.sin() as f32 }
        })
        .collect()
}

/// Transforms `values`, whose number is a power of two and twice that of `twiddles`.
pub(crate) fn transform(values: &mut [Complex], twiddles: &[Complex]) {
    let len = values.len();
    debug_assert!(len.is_power_of_two() && twiddles.len() * 2 == len, "the table must fit the transform");
    let bits = len.trailing_zeros();
    for index in 0..len {
        let mirrored = index.reverse_bits() >> (usize::BITS - bits);
        if mirrored > index {
            values.swap(index, mirrored);
        }
    }
    let mut half = 1;
    while half < len {
        let stride = len / (2 * half);
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (index, (low, high)) in low.iter_mut().zip(high).enumerate() {
                let turned = high.times(twiddles[index * stride]);
                let kept = *low;
                *low = Complex { re: kept.re + turned.re, im: kept.im + turned.im };
                *high = Complex { re: kept.re - turned.re, im: kept.im - turned.im };
            }
        }
        half *= 2;
    }
}
