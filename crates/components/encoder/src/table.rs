//! Rows of tables as sets of columns, whatever their schema: a position for each, which tells what the column
//! is called and what stands in the cell.
//!
//! Names and categories come as vectors of texts, so that columns nobody has seen have a meaning. Numbers
//! are sines and cosines of learned rates (Gorishniy et al. 2022, <https://arxiv.org/abs/2203.05556>, section
//! 3.3), blocks are those of FT-Transformer (Gorishniy et al. 2021, <https://arxiv.org/abs/2106.11959>).
//!
//! ```text
//! name [B, N, W] ────────────────────────linear──┐
//! number [B, N] ──sin, cos──linear──┐            │
//! category [B, N, W] ───────linear──┼─one of────(+)──▶ [B, N, E] ──blocks, norm──▶ [B, N, E]
//! missing, learned ─────────────────┘
//! ```
//! No position has a place, so the order of columns changes nothing.

use sensorium_flow::{Cell, Encode, Features, Rows};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of a [`TableEncoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEncoderConfig {
    /// Width W of the vectors of names and categories.
    pub embed: usize,
    /// Most columns N of a row.
    pub columns: usize,
    /// Rates at which a number turns sines and cosines.
    pub rates: usize,
    /// Width E.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
}

impl TableEncoderConfig {
    /// The embedded model's: up to 16 columns, 0.65 M parameters.
    pub fn small() -> Self {
        Self {
            embed: 128,
            columns: 16,
            rates: 16,
            hidden_size: 192,
            n_layers: 2,
            n_heads: 6,
            intermediate_size: 384,
        }
    }
}

/// Epsilon of every norm: PyTorch's default.
const EPS: f64 = 1e-5;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct TableEncoder {
    name: Linear,
    category: Linear,
    rates: Param<Tensor<1>>,
    number: Linear,
    missing: Param<Tensor<1>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

sensorium_nn::pack!(TableEncoder: name, category, number, blocks);

impl TableEncoder {
    /// Matrices of `fan_in^-0.5`; rates of 1: the numbers that they turn have a deviation of 1 too.
    pub fn init(config: &TableEncoderConfig, init: &mut Init) -> Self {
        let e = config.hidden_size;
        let linear = |fan_in: usize, init: &mut Init| {
            Linear::init(fan_in, e, true, (fan_in as f64).powf(-0.5), init)
        };
        let block = BlockConfig {
            d: e,
            heads: config.n_heads,
            hidden: config.intermediate_size,
            activation: Activation::Gelu,
            eps: EPS,
            n_layers: config.n_layers,
        };
        Self {
            name: linear(config.embed, init),
            category: linear(config.embed, init),
            rates: init.normal([config.rates], 1.0),
            number: linear(2 * config.rates + 1, init),
            missing: init.normal([e], 1.0),
            blocks: (0..config.n_layers).map(|_| Block::init(&block, init)).collect(),
            norm: LayerNorm::init(e, EPS, init),
        }
    }

    /// Positions after so many blocks, `[B, N, E]`: after none, what the first one reads.
    pub fn hidden(&self, rows: &Rows, blocks: usize) -> Tensor<3> {
        let x = self.name.forward(rows.names.clone())
            + self.numbers(rows.numbers.clone()) * chosen(rows, Cell::Number)
            + self.category.forward(rows.categories.clone()) * chosen(rows, Cell::Category)
            + self.missing.val().unsqueeze() * chosen(rows, Cell::Missing);
        let blocks = self.blocks.iter().take(blocks);
        blocks.fold(x, |x, block| block.forward(x, &Mask::Full, Some(&rows.columns)))
    }

    /// `[B, N] -> [B, N, E]`
    fn numbers(&self, numbers: Tensor<2>) -> Tensor<3> {
        let x = numbers.unsqueeze_dim::<3>(2); // [B, N, 1]
        let angles = x.clone() * self.rates.val().unsqueeze();
        self.number.forward(Tensor::cat(vec![x, angles.clone().sin(), angles.cos()], 2))
    }
}

/// 1 where a cell is of that kind, `[B, N, 1]`.
fn chosen(rows: &Rows, kind: Cell) -> Tensor<3> {
    let [b, n] = rows.numbers.dims();
    let ones: Vec<f32> = rows.cells.iter().map(|&cell| f32::from(u8::from(cell == kind))).collect();
    Tensor::from_data(TensorData::new(ones, [b, n, 1]), &rows.numbers.device())
}

impl Encode for TableEncoder {
    type Input = Rows;

    /// Rows to positions after the last norm, `[B, N, E]`; those behind a row's columns mean nothing.
    fn encode(&self, rows: Rows) -> Features {
        Features(self.norm.forward(self.hidden(&rows, self.blocks.len())))
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    const CELLS: [Cell; 4] = [Cell::Number, Cell::Category, Cell::Missing, Cell::Number];

    fn tiny() -> TableEncoder {
        let config = TableEncoderConfig {
            embed: 5,
            columns: 4,
            rates: 3,
            hidden_size: 12,
            n_layers: 2,
            n_heads: 3,
            intermediate_size: 20,
        };
        TableEncoder::init(&config, &mut Init::new(4, &Device::flex()))
    }

    /// One row of the columns in that order.
    fn row(order: &[usize], cells: [Cell; 4]) -> Rows {
        let mut init = Init::new(6, &Device::flex());
        let mut texts = || -> Vec<Tensor<3>> {
            let texts = init.normal([1, 4, 5], 1.0).val();
            order.iter().map(|&column| texts.clone().narrow(1, column, 1)).collect()
        };
        let [names, categories] = [texts(), texts()].map(|texts| Tensor::cat(texts, 1));
        let numbers: Vec<f32> = order.iter().map(|&column| [0.0, 0.0, 0.0, -1.5][column]).collect();
        Rows {
            names,
            categories,
            numbers: Tensor::from_data(TensorData::new(numbers, [1, order.len()]), &Device::flex()),
            cells: order.iter().map(|&column| cells[column]).collect(),
            columns: [order.len()].into(),
        }
    }

    fn off(a: Tensor<3>, b: Tensor<3>) -> f32 {
        read((a - b).abs().max())[0]
    }

    #[test]
    fn the_embedded_one_has_as_many_parameters_as_it_says() {
        let shapes = params::shapes(|init| TableEncoder::init(&TableEncoderConfig::small(), init));
        let n: usize = shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(n, 650_704);
    }

    #[test]
    fn the_order_of_columns_changes_nothing() {
        let table = tiny();
        let Features(plain) = table.encode(row(&[0, 1, 2, 3], CELLS));
        for order in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 1, 0]] {
            let Features(other) = table.encode(row(&order, CELLS));
            for (place, column) in order.into_iter().enumerate() {
                let (want, got) =
                    (plain.clone().narrow(1, column, 1), other.clone().narrow(1, place, 1));
                assert!(off(want, got) < 1e-5, "{order:?}, column {column}");
            }
        }
    }

    /// Column 0 holds 0: its own position tells, and those of all others.
    #[test]
    fn a_missing_value_is_neither_zero_nor_a_category() {
        let table = tiny();
        let seen = |cell| {
            let [_, b, c, d] = CELLS;
            table.encode(row(&[0, 1, 2, 3], [cell, b, c, d])).0
        };
        let all = [Cell::Number, Cell::Category, Cell::Missing].map(seen);
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let change = (all[a].clone() - all[b].clone()).abs().max_dim(2);
            assert!(read(change).into_iter().all(|x| x > 1e-3), "{a}, {b}");
        }
    }

    /// What a cell does not hold is not seen, nor what pads a row.
    #[test]
    fn only_what_is_there_counts() {
        let table = tiny();
        let plain = row(&[0, 1, 2, 3], CELLS);
        let Features(want) = table.encode(plain.clone());
        let numbers =
            plain.numbers.clone() + Tensor::from_floats([[0.0, 4.0, 4.0, 0.0]], &Device::flex());
        assert!(off(want, table.encode(Rows { numbers, ..plain.clone() }).0) < 1e-6);

        let Features(short) = table.encode(row(&[0, 1], CELLS));
        let Features(padded) = table.encode(Rows { columns: [2].into(), ..plain });
        assert!(off(short, padded.narrow(1, 0, 2)) < 1e-5);
    }

    #[test]
    fn near_numbers_are_nearer_than_far_ones() {
        let table = tiny();
        let seen = |x: f32| table.numbers(Tensor::from_floats([[x]], &Device::flex()));
        let gap = |a: f32, b: f32| off(seen(a), seen(b));
        assert!(gap(0.5, 0.6) < gap(0.5, 1.5) && gap(0.5, 0.6) > 1e-3);
        assert!(gap(-1.0, 1.0) > 1e-2, "the sign is seen");
    }
}
