//! The inner loops, in f32 over vectors padded with zeros to whole [`Lanes`]. They are plain code over fixed arrays, which
//! the compiler turns into vector instructions, and [`compiled_twice`] makes of each entry point one version for CPUs
//! with AVX2 and FMA and one for the others.

use super::equation::Equation;

/// Eight components of a vector.
pub(super) type Lanes = [f32; 8];

const WIDTH: usize = 8;

/// Vectors packed at a time: 32 of rank 64 are 8 KiB, which stay in the first-level cache while every tile passes over
/// them.
pub(super) const BLOCK: usize = 32;

/// A pivot of the Cholesky factor below this share of its diagonal element has lost most digits of an f32.
const PIVOT_SHARE_MIN: f32 = 1e-3;

/// Whether the fallback should fuse too: every 64-bit Arm has the instruction, elsewhere it would be a library call.
pub(super) const FUSED: bool = cfg!(target_arch = "aarch64");

/// Makes of `$generic::<FUSED>` a function of the same arguments which uses AVX2 and FMA where the CPU has them: without
/// them an iteration over 1 M ratings takes twice the time of CPU, 0.050 s instead of 0.023 at rank 10, 0.19 instead of
/// 0.10 at rank 64 (`learn_bench - als_explicit`). Both give the same to rounding. This is the one `unsafe` of the crate.
macro_rules! compiled_twice {
    ($(#[$meta:meta])* $name:ident, $generic:ident, ($($arg:ident: $type:ty),*) $(-> $output:ty)?) => {
        $(#[$meta])*
        pub(super) fn $name($($arg: $type),*) $(-> $output)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $type),*) $(-> $output)? {
                    $generic::<true>($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: `wide` needs these two features and nothing else, and they have just been found.
                    #[allow(unsafe_code)]
                    return unsafe { wide($($arg),*) };
                }
            }
            $generic::<{ crate::als::kernel::FUSED }>($($arg),*)
        }
    };
}
pub(super) use compiled_twice;

#[inline(always)]
fn fused<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// y += a·x.
#[inline(always)]
fn axpy<const FUSED: bool>(a: f32, x: &[Lanes], y: &mut [Lanes]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = std::array::from_fn(|lane| fused::<FUSED>(a, x[lane], y[lane]));
    }
}

#[inline(always)]
fn dot<const FUSED: bool>(x: &[Lanes], y: &[Lanes]) -> f32 {
    let mut sums = [0.0; WIDTH];
    for (x, y) in x.iter().zip(y) {
        for lane in 0..WIDTH {
            sums[lane] = fused::<FUSED>(x[lane], y[lane], sums[lane]);
        }
    }
    fold(sums)
}

#[inline(always)]
fn fold(sums: Lanes) -> f32 {
    let four: [f32; 4] = std::array::from_fn(|lane| sums[lane] + sums[lane + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The vectors one side of the ratings is computed from.
#[derive(Clone, Copy)]
pub(super) struct Fixed<'a> {
    /// n × width, row-major.
    pub(super) factors: &'a [Lanes],
    /// Lanes of a vector.
    pub(super) width: usize,
    /// Components of a vector that are not padding.
    pub(super) rank: usize,
}

impl<'a> Fixed<'a> {
    #[inline(always)]
    pub(super) fn vector(&self, code: u32) -> &'a [Lanes] {
        let start = code as usize * self.width;
        &self.factors[start..start + self.width]
    }
}

/// What the rows of one thread are computed in.
#[derive(Default)]
pub(super) struct Scratch {
    /// The system matrix: (width·8) × width, row-major; only the lanes from the diagonal on are kept up.
    pub(super) matrix: Vec<Lanes>,
    /// The right-hand side: width.
    pub(super) right: Vec<Lanes>,
    packed: Vec<Lanes>,
    weighted: Vec<Lanes>,
    weights: Vec<f32>,
    targets: Vec<f32>,
    diagonal: Vec<f32>,
    inverse: Vec<f32>,
    half_solved: Vec<f32>,
    residual: Vec<Lanes>,
    direction: Vec<Lanes>,
    product: Vec<Lanes>,
}

impl Scratch {
    /// An empty sum.
    pub(super) fn clear(&mut self, width: usize) {
        self.matrix.clear();
        self.matrix.resize(width * WIDTH * width, [0.0; WIDTH]);
        self.clear_right(width);
    }

    pub(super) fn clear_right(&mut self, width: usize) {
        self.right.clear();
        self.right.resize(width, [0.0; WIDTH]);
    }
}

/// Adds Σ w·yyᵀ to the matrix and Σ t·y to the right-hand side, over the ratings of one row.
#[inline(always)]
pub(super) fn add_ratings<const FUSED: bool>(
    fixed: Fixed,
    equation: &Equation,
    columns: &[u32],
    values: &[f32],
    scratch: &mut Scratch,
) {
    let width = fixed.width;
    let Scratch { matrix, right, packed, weighted, weights, targets, .. } = scratch;
    for (columns, values) in columns.chunks(BLOCK).zip(values.chunks(BLOCK)) {
        pack(fixed, columns, packed);
        if !equation.is_implicit() {
            add_right::<FUSED>(packed, values, width, right);
            add_tiles::<FUSED>(packed, packed, width, matrix);
            continue;
        }
        weigh(equation, values, weights, targets);
        add_right::<FUSED>(packed, targets, width, right);
        weighted.clear();
        for (vector, &weight) in packed.chunks_exact(width).zip(weights.iter()) {
            weighted.extend(vector.iter().map(|lanes| lanes.map(|value| weight * value)));
        }
        add_tiles::<FUSED>(weighted, packed, width, matrix);
    }
}

/// Copies the vectors of `columns` one behind the other.
#[inline(always)]
fn pack(fixed: Fixed, columns: &[u32], packed: &mut Vec<Lanes>) {
    packed.resize(columns.len() * fixed.width, [0.0; WIDTH]);
    for (slot, &column) in packed.chunks_exact_mut(fixed.width).zip(columns) {
        for (slot, lanes) in slot.iter_mut().zip(fixed.vector(column)) {
            *slot = *lanes;
        }
    }
}

/// What each value counts for in yyᵀ and in y.
#[inline(always)]
fn weigh(equation: &Equation, values: &[f32], weights: &mut Vec<f32>, targets: &mut Vec<f32>) {
    weights.clear();
    targets.clear();
    weights.extend(values.iter().map(|&value| equation.weight(value)));
    targets.extend(values.iter().map(|&value| equation.target(value)));
}

/// right += Σ t·y, eight components at a time held in registers; four sums, so that one need not wait for the other.
#[inline(always)]
fn add_right<const FUSED: bool>(packed: &[Lanes], targets: &[f32], width: usize, right: &mut [Lanes]) {
    let (four_targets, one_targets) = targets.as_chunks::<4>();
    let (fours, ones) = packed.split_at(four_targets.len() * 4 * width);
    for (at, right) in right.iter_mut().enumerate() {
        let mut sums = [[0.0; WIDTH]; 4];
        for (vectors, targets) in fours.chunks_exact(4 * width).zip(four_targets) {
            for (of, sums) in sums.iter_mut().enumerate() {
                let (lanes, target) = (vectors[of * width + at], targets[of]);
                for lane in 0..WIDTH {
                    sums[lane] = fused::<FUSED>(target, lanes[lane], sums[lane]);
                }
            }
        }
        for (vector, target) in ones.chunks_exact(width).zip(one_targets) {
            for lane in 0..WIDTH {
                sums[0][lane] = fused::<FUSED>(*target, vector[at][lane], sums[0][lane]);
            }
        }
        *right = std::array::from_fn(|l| right[l] + ((sums[0][l] + sums[1][l]) + (sums[2][l] + sums[3][l])));
    }
}

/// matrix += Σ left·rightᵀ over vectors, by tiles of 8 × 8 held in registers.
#[inline(always)]
fn add_tiles<const FUSED: bool>(left: &[Lanes], right: &[Lanes], width: usize, matrix: &mut [Lanes]) {
    for i in 0..width {
        for j in 0..=i {
            let mut tile = [[0.0; WIDTH]; WIDTH];
            for (left, right) in left.chunks_exact(width).zip(right.chunks_exact(width)) {
                let (a, b) = (left[i], right[j]);
                for k in 0..WIDTH {
                    for lane in 0..WIDTH {
                        tile[k][lane] = fused::<FUSED>(a[lane], b[k], tile[k][lane]);
                    }
                }
            }
            for (k, sums) in tile.iter().enumerate() {
                let lanes = &mut matrix[(j * WIDTH + k) * width + i];
                *lanes = std::array::from_fn(|lane| lanes[lane] + sums[lane]);
            }
        }
    }
}

#[inline(always)]
fn add_gram_generic<const FUSED: bool>(factors: &[Lanes], width: usize, matrix: &mut [Lanes]) {
    for block in factors.chunks(BLOCK * width) {
        add_tiles::<FUSED>(block, block, width, matrix);
    }
}

compiled_twice!(
    /// matrix += Σ yyᵀ over vectors.
    add_gram,
    add_gram_generic,
    (factors: &[Lanes], width: usize, matrix: &mut [Lanes])
);

#[inline(always)]
fn add_row_generic<const FUSED: bool>(
    fixed: Fixed,
    equation: &Equation,
    columns: &[u32],
    values: &[f32],
    scratch: &mut Scratch,
) {
    add_ratings::<FUSED>(fixed, equation, columns, values, scratch);
}

compiled_twice!(
    /// [`add_ratings`] outside the loop over rows.
    add_row,
    add_row_generic,
    (fixed: Fixed, equation: &Equation, columns: &[u32], values: &[f32], scratch: &mut Scratch)
);

/// Solves (matrix + penalty·I) x = right by Cholesky. False, and `solution` is not to be used, where a pivot has lost
/// most of its digits: the caller then has more of them.
#[inline(always)]
pub(super) fn solve_cholesky<const FUSED: bool>(
    rank: usize,
    width: usize,
    penalty: f32,
    scratch: &mut Scratch,
    solution: &mut [Lanes],
) -> bool {
    let Scratch { matrix, right, diagonal, inverse, half_solved, .. } = scratch;
    diagonal.clear();
    diagonal.extend((0..rank).map(|k| matrix[k * width + k / WIDTH][k % WIDTH] + penalty));
    inverse.clear();
    half_solved.clear();
    for k in 0..rank {
        let lane = k / WIDTH;
        let (above, below) = matrix.split_at_mut((k + 1) * width);
        let row = &mut above[k * width + lane..];
        let pivot = row[0][k % WIDTH] + penalty;
        // Written so that NaN is not enough either.
        let enough = pivot > PIVOT_SHARE_MIN * diagonal[k] && pivot < f32::INFINITY;
        if !enough {
            return false;
        }
        let reciprocal = 1.0 / pivot.sqrt();
        inverse.push(reciprocal);
        for lanes in row.iter_mut() {
            *lanes = lanes.map(|value| value * reciprocal);
        }
        for (j, other) in (k + 1..rank).zip(below.chunks_exact_mut(width)) {
            let from = j / WIDTH - lane;
            let factor = row[from][j % WIDTH];
            axpy::<FUSED>(-factor, &row[from..], &mut other[j / WIDTH..]);
        }
        let half = right[lane][k % WIDTH] * reciprocal;
        half_solved.push(half);
        axpy::<FUSED>(-half, row, &mut right[lane..]);
    }
    solution.iter_mut().for_each(|lanes| *lanes = [0.0; WIDTH]);
    for k in (0..rank).rev() {
        let lane = k / WIDTH;
        let row = &matrix[k * width + lane..(k + 1) * width];
        let rest = dot::<FUSED>(row, &solution[lane..]);
        solution[lane][k % WIDTH] = (half_solved[k] - rest) * inverse[k];
    }
    solution.iter().all(|lanes| lanes.iter().all(|value| value.is_finite()))
}

/// Steps of conjugate gradients. Three, from the vector of the iteration before, end at the same RMSE as exact solutions
/// (Takács, Pilászy and Tikk 2011).
const STEPS: usize = 3;

/// Takes `solution` three steps of conjugate gradients nearer to that of (base + Σ w·yyᵀ + penalty·I) x = Σ t·y,
/// without forming the matrix. `base`: (width·8) × width, whole, or empty for 0.
#[inline(always)]
pub(super) fn solve_conjugate<const FUSED: bool>(
    fixed: Fixed,
    equation: &Equation,
    base: &[Lanes],
    penalty: f32,
    (columns, values): (&[u32], &[f32]),
    scratch: &mut Scratch,
    solution: &mut [Lanes],
) -> bool {
    let width = fixed.width;
    let Scratch { right, packed, weights, targets, residual, direction, product, .. } = scratch;
    pack(fixed, columns, packed);
    weigh(equation, values, weights, targets);
    right.clear();
    right.resize(width, [0.0; WIDTH]);
    add_right::<FUSED>(packed, targets, width, right);
    product.clear();
    product.resize(width, [0.0; WIDTH]);
    multiply::<FUSED>(packed, weights, base, penalty, solution, product);
    residual.clear();
    residual
        .extend(right.iter().zip(product.iter()).map(|(b, ax)| std::array::from_fn::<f32, WIDTH, _>(|l| b[l] - ax[l])));
    direction.clear();
    direction.extend_from_slice(residual);
    let mut squared = dot::<FUSED>(residual, residual);
    for _ in 0..STEPS {
        if squared <= f32::MIN_POSITIVE {
            break;
        }
        multiply::<FUSED>(packed, weights, base, penalty, direction, product);
        let step = squared / dot::<FUSED>(direction, product);
        axpy::<FUSED>(step, direction, solution);
        axpy::<FUSED>(-step, product, residual);
        let next = dot::<FUSED>(residual, residual);
        let share = next / squared;
        squared = next;
        for (direction, residual) in direction.iter_mut().zip(residual.iter()) {
            *direction = std::array::from_fn(|lane| fused::<FUSED>(share, direction[lane], residual[lane]));
        }
    }
    solution.iter().all(|lanes| lanes.iter().all(|value| value.is_finite()))
}

/// product = (base + Σ w·yyᵀ + penalty·I) x.
#[inline(always)]
fn multiply<const FUSED: bool>(
    packed: &[Lanes],
    weights: &[f32],
    base: &[Lanes],
    penalty: f32,
    x: &[Lanes],
    product: &mut [Lanes],
) {
    let width = x.len();
    for (product, x) in product.iter_mut().zip(x) {
        *product = std::array::from_fn(|lane| penalty * x[lane]);
    }
    for (row, &x) in base.chunks_exact(width).zip(x.as_flattened()) {
        axpy::<FUSED>(x, row, product);
    }
    // Four vectors at a time, so that the sums are loaded and stored a quarter as often.
    let (fours, ones) = packed.split_at(packed.len() / (4 * width) * (4 * width));
    let (four_weights, one_weights) = weights.as_chunks::<4>();
    for (vectors, weights) in fours.chunks_exact(4 * width).zip(four_weights) {
        let (a, rest) = vectors.split_at(width);
        let (b, rest) = rest.split_at(width);
        let (c, d) = rest.split_at(width);
        let mut sums = [[0.0; WIDTH]; 4];
        for at in 0..width {
            let x = x[at];
            for (sums, vector) in sums.iter_mut().zip([a, b, c, d]) {
                for lane in 0..WIDTH {
                    sums[lane] = fused::<FUSED>(vector[at][lane], x[lane], sums[lane]);
                }
            }
        }
        let scores: [f32; 4] = std::array::from_fn(|of| weights[of] * fold(sums[of]));
        for (at, product) in product.iter_mut().enumerate() {
            let (a, b, c, d) = (a[at], b[at], c[at], d[at]);
            *product = std::array::from_fn(|l| {
                let two = fused::<FUSED>(scores[0], a[l], fused::<FUSED>(scores[1], b[l], product[l]));
                fused::<FUSED>(scores[2], c[l], fused::<FUSED>(scores[3], d[l], two))
            });
        }
    }
    for (vector, weight) in ones.chunks_exact(width).zip(one_weights) {
        axpy::<FUSED>(weight * dot::<FUSED>(vector, x), vector, product);
    }
}
