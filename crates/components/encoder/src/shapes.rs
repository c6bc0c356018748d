//! Names and shapes of parameters, from sizes alone: what a file must hold is known before memory is
//! taken for it.

/// A list in the making.
#[derive(Debug, Default)]
pub(crate) struct Shapes(pub Vec<(String, Vec<usize>)>);

impl Shapes {
    pub fn put(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    pub fn norm(&mut self, name: &str, d: usize) {
        self.put(format!("{name}.weight"), &[d]);
        self.put(format!("{name}.bias"), &[d]);
    }

    pub fn linear(&mut self, name: &str, in_: usize, out: usize) {
        self.put(format!("{name}.weight"), &[out, in_]);
        self.put(format!("{name}.bias"), &[out]);
    }

    pub fn attention(&mut self, name: &str, d: usize) {
        for part in ["q", "k", "v", "o"] {
            self.linear(&format!("{name}.{part}"), d, d);
        }
    }

    /// Two maps, the first to `out` and the second from `in_` channels.
    pub fn mlp(&mut self, name: &str, d: usize, [out, in_]: [usize; 2]) {
        self.linear(&format!("{name}.fc1"), d, out);
        self.linear(&format!("{name}.fc2"), in_, d);
    }

    /// The stack called `blocks`, with MLPs as [`mlp`](Self::mlp) has them.
    pub fn blocks(&mut self, n_layers: usize, d: usize, hidden: [usize; 2]) {
        for i in 0..n_layers {
            self.norm(&format!("blocks.{i}.norm1"), d);
            self.attention(&format!("blocks.{i}.attention"), d);
            self.norm(&format!("blocks.{i}.norm2"), d);
            self.mlp(&format!("blocks.{i}.mlp"), d, hidden);
        }
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::prelude::*;
    use sensorium_nn::running_device;

    use crate::image::{ActivationName, Pooling, Resnet, ResnetConfig, Vit, VitConfig};
    use crate::text::{TextConfig, TextTower};

    fn made(module: &impl Module) -> Vec<(String, Vec<usize>)> {
        params::list(module).into_iter().map(|p| (p.name, p.shape)).collect()
    }

    #[test]
    fn lists_are_those_of_what_is_made() {
        let init = &mut Init::empty(&running_device());
        let small = VitConfig { n_heads: 2, ..VitConfig::clip(12, 4, 8, 2, 6) };
        let siglip = VitConfig {
            pooling: Pooling::AttentionMlp,
            stem_bias: true,
            pre_norm: false,
            proj: false,
            ..small.clone()
        };
        let mean = VitConfig { pooling: Pooling::Mean, ..siglip.clone() };
        let swiglu = VitConfig { activation: ActivationName::SwiGlu, ..small.clone() };
        let nano = VitConfig { n_layers: 1, ..VitConfig::nano() };
        for config in [small, siglip, mean, swiglu, nano] {
            assert_eq!(config.parameters(), made(&Vit::init(&config, init)));
        }
        let resnet =
            ResnetConfig { image: 64, layers: [2, 1, 1, 1], width: 4, n_heads: 2, embed: 6 };
        assert_eq!(resnet.parameters(), made(&Resnet::init(&resnet, init)));
        let nano = TextConfig { n_layers: 1, ..TextConfig::nano() };
        let biased = TextConfig { proj_bias: true, pairs: 0, ..nano.clone() };
        for config in [nano, biased] {
            assert_eq!(config.parameters(), made(&TextTower::init(&config, init)));
        }
    }
}
