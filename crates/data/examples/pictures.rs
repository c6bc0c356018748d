//! Draws the pictures in `examples/pictures`.
//!
//! `cargo run -p sensorium-data --example pictures -- examples/pictures`

use sensorium_data::look::{Color, Fill, Look, Shape, Size};
use sensorium_data::scene::{Background, Paper, Scene};
use sensorium_kernels::rng::Rng;

const SIZE: u32 = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "examples/pictures".into());
    let folder = std::path::Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    for (name, paper, seed, looks) in pictures() {
        let rng = &mut Rng::at(seed, 0, 0);
        let mut scene = Scene::compose(&looks, rng);
        scene.background = Background::new(paper, rng);
        std::fs::write(folder.join(name), scene.render(SIZE).to_png())?;
    }
    Ok(())
}

/// Name, background, seed of the places, and objects.
fn pictures() -> [(&'static str, Paper, u64, Vec<Look>); 7] {
    use Color::*;
    use Fill::*;
    use Shape::*;
    use Size::*;
    let look = |color, shape, size, fill| Look { shape, color, size, fill };
    [
        ("scene.png", Paper::White, 3, vec![look(Red, Circle, Large, Solid)]),
        (
            "three.png",
            Paper::White,
            3,
            vec![
                look(Red, Circle, Large, Solid),
                look(Blue, Rectangle, Medium, Solid),
                look(Yellow, Star, Large, Solid),
            ],
        ),
        (
            "count.png",
            Paper::Cream,
            1,
            vec![
                look(Green, Triangle, Medium, Solid),
                look(Green, Triangle, Medium, Solid),
                look(Green, Triangle, Small, Solid),
                look(Orange, Heart, Medium, Solid),
                look(Orange, Heart, Medium, Solid),
            ],
        ),
        (
            "sizes.png",
            Paper::Sky,
            2,
            vec![
                look(Purple, Cross, Small, Solid),
                look(Purple, Diamond, Medium, Solid),
                look(Purple, Moon, Large, Solid),
            ],
        ),
        (
            "fills.png",
            Paper::White,
            4,
            vec![
                look(Teal, Star, Large, Striped),
                look(Red, Heart, Large, Outline),
                look(Purple, Arrow, Large, Solid),
            ],
        ),
        (
            "relation.png",
            Paper::Gradient,
            5,
            vec![look(Black, Cross, Large, Solid), look(Orange, Moon, Large, Solid)],
        ),
        (
            "crowd.png",
            Paper::Mint,
            6,
            vec![
                look(Red, Star, Medium, Solid),
                look(Blue, Diamond, Large, Striped),
                look(Gray, Circle, Small, Solid),
                look(Purple, Arrow, Medium, Solid),
                look(Yellow, Heart, Medium, Solid),
                look(Brown, Triangle, Small, Outline),
            ],
        ),
    ]
}
