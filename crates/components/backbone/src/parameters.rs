//! Names and shapes of parameters that were not made: a file is compared with them before memory is
//! taken for its claims.

use sensorium_nn::prelude::BlockConfig;

/// A growing list, in field order.
#[derive(Default)]
pub(crate) struct Parameters(pub Vec<(String, Vec<usize>)>);

impl Parameters {
    /// A matrix called `name.weight`, with its bias if it has one.
    pub fn matrix(&mut self, name: &str, out: usize, in_: usize, bias: bool) {
        self.0.push((format!("{name}.weight"), vec![out, in_]));
        if bias {
            self.vector(&format!("{name}.bias"), out);
        }
    }

    pub fn vector(&mut self, name: &str, n: usize) {
        self.0.push((name.to_owned(), vec![n]));
    }

    pub fn layer_norm(&mut self, name: &str, d: usize) {
        self.vector(&format!("{name}.weight"), d);
        self.vector(&format!("{name}.bias"), d);
    }

    /// A [`Block`](sensorium_nn::prelude::Block) called `name`, or with `post` a
    /// [`PostBlock`](sensorium_nn::prelude::PostBlock).
    pub fn block(&mut self, name: &str, config: &BlockConfig, post: bool) {
        let (d, hidden) = (config.d, config.hidden);
        let norm1 = format!("{name}.norm1");
        if !post {
            self.layer_norm(&norm1, d);
        }
        for part in ["q", "k", "v", "o"] {
            self.matrix(&format!("{name}.attention.{part}"), d, d, true);
        }
        self.layer_norm(if post { norm1 } else { format!("{name}.norm2") }.as_str(), d);
        self.matrix(&format!("{name}.mlp.fc1"), hidden, d, true);
        self.matrix(&format!("{name}.mlp.fc2"), d, hidden, true);
        if post {
            self.layer_norm(&format!("{name}.norm2"), d);
        }
    }
}
