//! Splicing: a medium's tokens take the places that the prompt kept for them (LLaVA, Liu et al.
//! 2023, section 4.1).

use sensorium_flow::Embeds;
use sensorium_media::Slot;
use sensorium_nn::prelude::*;

/// `text [B, T, D]` with the rows of `media [M, Q, D]` written to the slots in order, whose places are
/// counted over the whole batch: `row·T + t`. Slots may differ in length; together they take all `M·Q`
/// rows.
///
/// Every feature lands at its marker, all other positions keep their text embedding, and gradients
/// flow to both.
pub fn splice(Embeds(text): Embeds, Embeds(media): Embeds, slots: &[Slot]) -> Embeds {
    let ([b, t, d], [m, q, _]) = (text.dims(), media.dims());
    let taken: usize = slots.iter().map(|slot| slot.len).sum();
    assert!(m * q == taken, "{m} media of {q} tokens for {taken} places");

    let mut rows: Vec<i32> = (0..(b * t) as i32).collect();
    let mut next = (b * t) as i32..;
    for &Slot { at, len, .. } in slots {
        assert!(at % t + len <= t, "{len} tokens of a medium do not fit at {at} of {t}");
        rows[at..at + len].iter_mut().zip(&mut next).for_each(|(row, media)| *row = media);
    }
    let table = Tensor::cat(vec![text.reshape([b * t, d]), media.reshape([m * q, d])], 0);
    Embeds(fused::embedding(table, rows).reshape([b, t, d]))
}

/// Of media that were padded to one length, `[M, Q, D]`, the tokens that their slots have room for, in a
/// row: `[1, Q', D]`. As they are where nothing is padded.
pub fn unpadded(Embeds(media): Embeds, slots: &[Slot]) -> Embeds {
    let [m, q, d] = media.dims();
    if slots.len() != m || slots.iter().all(|slot| slot.len >= q) {
        return Embeds(media);
    }
    let row = |(m, slot): (usize, &Slot)| (m * q..m * q + slot.len).map(|row| row as i32);
    let rows: Vec<i32> = slots.iter().enumerate().flat_map(row).collect();
    let taken = rows.len();
    Embeds(fused::embedding(media.reshape([m * q, d]), rows).reshape([1, taken, d]))
}

#[cfg(test)]
mod tests {
    use sensorium_media::Modality;
    use sensorium_nn::params::read;

    use super::*;

    fn spliced(media: [usize; 2], slots: [[usize; 2]; 2]) -> Vec<f32> {
        let device = Device::flex();
        let text: Tensor<3> = Tensor::zeros([2, 4, 1], &device);
        let [m, q] = media;
        let media = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &device).reshape([m, q, 1]);
        let slots = slots.map(|[at, len]| Slot { at, len, modality: Modality::Image });
        read(splice(Embeds(text), Embeds(media), &slots).0)
    }

    #[test]
    fn every_feature_lands_at_its_marker() {
        let got = spliced([2, 2], [[1, 2], [6, 2]]);
        assert_eq!(got, [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 3.0, 4.0]);
    }

    #[test]
    fn what_pads_a_medium_takes_no_place() {
        let device = Device::flex();
        let media = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &device);
        let slots = |lens: [usize; 2]| {
            lens.map(|len| Slot { at: 0, len, modality: Modality::Audio }).to_vec()
        };
        let left = |lens| read(unpadded(Embeds(media.clone().reshape([2, 3, 1])), &slots(lens)).0);
        assert_eq!(left([1, 3]), [1.0, 4.0, 5.0, 6.0]);
        assert_eq!(left([3, 3]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn media_of_one_row_may_differ_in_length() {
        let got = spliced([1, 4], [[0, 1], [5, 3]]);
        assert_eq!(got, [1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 4.0]);
    }
}
