//! A matrix that what was learned beside it is taken into does alone what both did.

use sensorium_nn::lora::Lora;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

#[test]
fn a_matrix_does_alone_what_it_did_with_what_was_learned() {
    let mut init = Init::new(5, &Device::flex());
    for magnitudes in [false, true] {
        let mut linear = Linear::init(6, 4, true, 0.5, &mut init);
        let x = init.normal([3, 6], 1.0).val();
        let plain = read(linear.forward(x.clone()));
        let mut lora = Lora::init([4, 6], 2, 0.7, &mut init);
        if magnitudes {
            lora = lora.with_magnitude(linear.weight.val());
        }
        lora.b = init.normal([4, 2], 0.5);
        linear.lora = Some(lora);
        let learned = read(linear.forward(x.clone()));
        linear.matrices("", &mut |_, matrix| matrix.merge());
        assert!(linear.lora.is_none());
        let merged = read(linear.forward(x));
        let far =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far(&plain, &learned) > 0.1, "{plain:?}");
        assert!(far(&learned, &merged) < 1e-5, "{learned:?} {merged:?}");
    }
}
