//! A model as it is kept, and its file.
//!
//! All numbers are little-endian. What is scanned lies at multiples of 64 bytes and is read where it is mapped, for
//! `n` products and `b = ceil(n / 16)` (the layouts are those of [`scan`](crate::scan)):
//!
//! | byte | what |
//! |---|---|
//! | 0 | the head of a sealed file: `onrush-m`, the version, length and checksum of all that follows |
//! | 32, 8 bytes | `u64`: `n` |
//! | 40, 8 bytes | `u64`: the length of the archive |
//! | 48, 16 bytes | zeros |
//! | 64, `256 * n` bytes | factors in rows |
//! | then `512 + 1152 * b` bytes | the same in a byte a number |
//! | then | an rkyv archive of the rest: names, listings, neighbours, networks, origin |

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use std::fs::{self, File};
use std::io;
use std::path::Path;

use memmap2::Mmap;
use rkyv::rancor::Error;
use rkyv::{Archive, Deserialize, Serialize};

use crate::base::{Base, Learned, Relations, codes_of};
use crate::counters::Listing;
use crate::mlp::Mlp;
use crate::model::{Model, Rankers};
use crate::scan::{ItemRows, MatrixError, Quantized};
use crate::sealed::{self, HEAD_BYTES, Kind, SealError};
use crate::section::Section;

/// How far from 0 a number of a factor may be: beyond, sums of squares of many are no numbers any more.
const FACTOR_MAX: f32 = 1e12;
/// Its name in a directory that has one model.
pub const FILE: &str = "model.onrush";
const KIND: Kind = Kind { magic: *b"onrush-m", version: 3 };
/// Bytes before the factors, behind the head.
const LENGTHS_BYTES: usize = 32;

/// How a model came about.
#[derive(Clone, Copy, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Origin {
    /// Counts what was published where it is used; 0 = made of files.
    pub version: u64,
    /// Where random numbers began.
    pub seed: u64,
    /// When the newest basket was that it was learned of, in unix seconds.
    pub last_s: i64,
    /// Baskets that it was learned of.
    pub baskets: u64,
    /// What learning took of the CPU, in seconds, over all threads.
    pub cpu_s: f64,
}

/// All of a model, as it was learned.
#[derive(Clone, PartialEq, Debug)]
pub struct Kept {
    /// Names of the products, by number.
    pub names: Vec<String>,
    /// Products as the catalogue had them.
    pub listings: Vec<Listing>,
    /// What was learned of all users at once.
    pub learned: Learned,
    /// The re-rankers.
    pub rankers: Rankers,
    /// How it came about.
    pub origin: Origin,
}

/// What the archive of a file holds.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Described {
    names: Vec<String>,
    listings: Vec<Listing>,
    relations: Relations,
    rankers: Rankers,
    origin: Origin,
}

/// Why a file is not used, or a model not made.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is damaged, or something else.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// It is not an archive.
    #[error("expected a model, found: {0}")]
    Archive(Error),
    /// Factors cannot be scanned.
    #[error("model: {0}")]
    Factors(#[from] MatrixError),
    /// What stands in it does not fit together.
    #[error("model: {0}")]
    Content(String),
}

impl Kept {
    /// Puts it in place of what a directory has, whole or not at all.
    ///
    /// # Errors
    /// Something does not fit together, or cannot be written.
    pub fn write(&self, directory: &Path) -> Result<Model, ModelError> {
        self.write_file(&directory.join(FILE))
    }

    /// Puts it in place of a file, whole or not at all.
    ///
    /// # Errors
    /// Something does not fit together, or cannot be written.
    pub fn write_file(&self, path: &Path) -> Result<Model, ModelError> {
        let sealed = KIND.seal(&self.encode()?);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        // It is mapped before it takes the other's place: one that cannot be read replaces none.
        sealed::replace_if(path, &sealed, map)
    }

    /// All of a file behind its head.
    fn encode(&self) -> Result<Vec<u8>, ModelError> {
        let Self { names, listings, learned, rankers, origin } = self;
        let Learned { factors, relations } = learned;
        let described = Described {
            names: names.clone(),
            listings: listings.clone(),
            relations: relations.clone(),
            rankers: rankers.clone(),
            origin: *origin,
        };
        let archive = rkyv::to_bytes::<Error>(&described).map_err(ModelError::Archive)?;
        let (rows, codes) = (ItemRows::build(factors)?, codes_of(factors)?);
        let mut body =
            Vec::with_capacity(LENGTHS_BYTES + rows.bytes().len() + codes.bytes().len() + archive.len());
        for number in [factors.len() as u64, archive.len() as u64, 0, 0] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        for part in [rows.bytes(), codes.bytes(), &archive] {
            body.extend_from_slice(part);
        }
        Ok(body)
    }

    /// A model of it, in memory, if it fits together.
    pub(crate) fn model(self) -> Result<Model, ModelError> {
        let Self { names, listings, learned, rankers, origin } = self;
        let Learned { factors, relations } = learned;
        let described = Described { names, listings, relations, rankers, origin };
        described.model(ItemRows::build(&factors)?.shared(), codes_of(&factors)?.shared())
    }
}

/// Maps the model of a directory.
pub(crate) fn read(directory: &Path) -> Result<Model, ModelError> {
    map(&directory.join(FILE))
}

/// Maps the model of a file.
pub(crate) fn map(path: &Path) -> Result<Model, ModelError> {
    let file = File::open(path)?;
    #[allow(unsafe_code, reason = "a file is mapped")]
    // SAFETY: a file of a model is replaced and never changed, so that what is mapped stays as it is.
    let mapped = unsafe { Mmap::map(&file)? };
    // Where the file system keeps files in huge pages, a scan misses the TLB less. Where it does not, it says so, and
    // ordinary pages serve.
    #[cfg(target_os = "linux")]
    let _ = mapped.advise(memmap2::Advice::HugePage);
    open(&Section::mapped(mapped))
}

/// Reads a file where it lies.
fn open(file: &Section) -> Result<Model, ModelError> {
    let body = KIND.open(file.as_ref())?;
    let short =
        || ModelError::Content(format!("expected a head of {LENGTHS_BYTES} bytes, found {}", body.len()));
    let lengths = body.first_chunk::<LENGTHS_BYTES>().ok_or_else(short)?;
    let [products, archive] =
        [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|index| lengths[at + index])));
    let wrong =
        |_| ModelError::Content(format!("expected less than {} products, found {products}", u32::MAX));
    let items = u32::try_from(products).map_err(wrong)?;
    let (rows, codes) = (ItemRows::bytes_of(items), Quantized::bytes_of(items));
    let expected = (LENGTHS_BYTES + rows + codes) as u64;
    if expected.checked_add(archive) != Some(body.len() as u64) {
        let found = body.len();
        return Err(ModelError::Content(format!(
            "expected {expected} bytes for {products} products and {archive} for the rest, found {found}"
        )));
    }
    // All of them are there, as was just looked at.
    let part = |from: usize, len: usize| {
        file.part(HEAD_BYTES + LENGTHS_BYTES + from, len)
            .ok_or_else(|| ModelError::Content("expected its parts".into()))
    };
    let archive = part(rows + codes, archive as usize)?;
    let described = rkyv::from_bytes::<Described, Error>(archive.as_ref()).map_err(ModelError::Archive)?;
    described.model(ItemRows::open(part(0, rows)?, items)?, Quantized::open(part(rows, codes)?, items)?)
}

impl Described {
    /// A model of it, with its factors where they lie, if all fits together.
    fn model(self, rows: ItemRows<Section>, codes: Quantized<Section>) -> Result<Model, ModelError> {
        if let Some(fault) = self.fault(&rows) {
            return Err(ModelError::Content(fault));
        }
        let Self { names, listings, relations, rankers, origin } = self;
        Ok(Model { names, listings, base: Base::with(rows, codes, relations), rankers, origin })
    }

    /// What does not fit together; `None` if all does.
    fn fault(&self, rows: &ItemRows<Section>) -> Option<String> {
        use crate::scan::ItemFactors as _;
        let Relations { neighbours, regularization, confidence } = &self.relations;
        let products = self.listings.len();
        for (name, found) in [("names", self.names.len()), ("factors", rows.items() as usize)] {
            if found != products {
                return Some(format!("expected {products} {name}, as many as products, found {found}"));
            }
        }
        // As many categories and brands as products, and one for those that have none.
        for (name, number) in
            [("category", (|of| of.category) as fn(&Listing) -> u32), ("brand", |of| of.brand)]
        {
            if let Some(found) = self.listings.iter().map(number).find(|found| *found as usize > products) {
                return Some(format!("expected a {name} of at most {products}, found {found}"));
            }
        }
        if !(regularization.is_finite()
            && *regularization > 0.0
            && confidence.is_finite()
            && *confidence > 0.0)
        {
            let found = format!("{regularization} and {confidence}");
            return Some(format!("expected a regularization and a confidence above 0, found {found}"));
        }
        let within = |product: &u32| {
            let factor = rows.factor(*product);
            factor.is_some_and(|factor| factor.iter().all(|value| value.abs() <= FACTOR_MAX))
        };
        if let Some(product) = (0..rows.items()).find(|product| !within(product)) {
            return Some(format!(
                "expected factors within {FACTOR_MAX:e}, found others of product {product}"
            ));
        }
        let rankers = [("next_basket", &self.rankers.next_basket), ("discovery", &self.rankers.discovery)];
        let of_ranker = |(name, mlp): (&str, &Mlp)| mlp.fault().map(|fault| format!("{name}: {fault}"));
        neighbours.fault(products).or_else(|| rankers.into_iter().find_map(of_ranker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factors::Sparse;
    use crate::mlp::MlpOptions;
    use crate::neighbours::Neighbours;
    use crate::scan::AlignedBytes;

    fn kept(products: usize) -> Kept {
        let mut random = fastrand::Rng::with_seed(2);
        let neighbours = Neighbours::learn(&Sparse::new(), products, &|_| true).unwrap();
        let mlp = || Mlp::learn(&[], MlpOptions::default(), &|_| true).unwrap();
        Kept {
            names: (0..products).map(|product| format!("product {product}")).collect(),
            listings: vec![Listing { category: 0, brand: 0, price_cents: 1 }; products],
            learned: Learned {
                factors: (0..products).map(|_| std::array::from_fn(|_| random.f32() - 0.5)).collect(),
                relations: Relations { neighbours, regularization: 1.0, confidence: 2.0 },
            },
            rankers: Rankers { next_basket: mlp(), discovery: mlp() },
            origin: Origin { version: 9, ..Origin::default() },
        }
    }

    fn opened(body: &[u8]) -> Result<Model, ModelError> {
        open(&Section::built(AlignedBytes::copy_of(&KIND.seal(body))))
    }

    #[test]
    fn factors_are_read_where_the_file_lies() {
        for products in [0, 1, 16, 37] {
            let kept = kept(products);
            let file = Section::built(AlignedBytes::copy_of(&KIND.seal(&kept.encode().unwrap())));
            let model = open(&file).unwrap();
            let within = file.as_ref().as_ptr_range();
            for part in [model.base.factors().bytes(), model.base.codes().bytes()] {
                assert!(part.is_empty() || within.contains(&part.as_ptr()));
                assert_eq!(part.as_ptr().addr() % 64, 0);
            }
            for (product, factor) in (0..).zip(&kept.learned.factors) {
                assert_eq!(model.base.factor(product), *factor);
            }
            let built = kept.clone().model().unwrap();
            assert_eq!(built.base.codes().bytes(), model.base.codes().bytes());
            assert_eq!((model.names, model.listings, model.origin), (kept.names, kept.listings, kept.origin));
            assert_eq!(model.rankers, kept.rankers);
        }
    }

    #[test]
    fn lengths_that_do_not_add_up_are_refused() {
        let body = kept(5).encode().unwrap();
        assert!(opened(&body).is_ok());
        let with = |at: usize, number: u64| {
            let mut other = body.clone();
            other[at..at + 8].copy_from_slice(&number.to_le_bytes());
            opened(&other).err().unwrap().to_string()
        };
        assert!(with(0, 6).contains("for 6 products"), "{}", with(0, 6));
        assert!(with(0, 1 << 40).contains("expected less than 4294967295 products"));
        assert!(with(8, u64::MAX).contains("for the rest"));
        assert!(
            opened(&body[..20]).err().unwrap().to_string().contains("expected a head of 32 bytes, found 20")
        );
        let mut longer = body.clone();
        longer.push(0);
        assert!(opened(&longer).err().unwrap().to_string().contains("for the rest"));
    }

    /// A file that ends where a section does is as damaged as one that ends within it, and so is one byte of another.
    #[test]
    fn a_file_that_is_cut_or_changed_at_a_section_is_refused_where_it_is_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, path) = (kept(21), dir.path().join(FILE));
        kept.write(dir.path()).unwrap();
        let whole = fs::read(&path).unwrap();
        let rows = HEAD_BYTES + LENGTHS_BYTES;
        let (codes, archive) = (rows + 256 * 21, rows + 256 * 21 + 512 + 1152 * 2);
        assert!(archive < whole.len());
        for boundary in
            [8, 16, 24, HEAD_BYTES, HEAD_BYTES + 8, rows, codes, codes + 512, archive, whole.len()]
        {
            for at in [boundary - 1, boundary, boundary + 1].into_iter().filter(|at| *at < whole.len()) {
                fs::write(&path, &whole[..at]).unwrap();
                assert!(matches!(read(dir.path()), Err(ModelError::Sealed(_))), "cut at {at}");
                let mut changed = whole.clone();
                changed[at] ^= 0x10;
                fs::write(&path, &changed).unwrap();
                assert!(matches!(read(dir.path()), Err(ModelError::Sealed(_))), "byte {at} changed");
            }
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(read(dir.path()).unwrap().names, kept.names);
    }

    #[test]
    fn what_the_sections_say_is_looked_at() {
        let kept = kept(5);
        let body = kept.encode().unwrap();
        let rows = LENGTHS_BYTES + 256 * 5;
        for (at, expected) in [
            (LENGTHS_BYTES + 256 * 3 + 4 * 7, "factor of item 3, dimension 7"),
            (rows + 4 * 2, "deviation of dimension 2"),
            (rows + 256 + 4 * 63, "direction in dimension 63"),
            (rows + 512 + 1024 + 4 * 4, "scale of item 4"),
            (rows + 512 + 1024 + 4 * 5, "scale of item 5"),
        ] {
            let mut spoiled = body.clone();
            let number = if at == rows + 512 + 1024 + 4 * 5 { 1.0 } else { f32::NAN };
            spoiled[at..at + 4].copy_from_slice(&number.to_le_bytes());
            let found = opened(&spoiled).err().unwrap().to_string();
            assert!(found.contains(expected), "{found}");
        }
    }
}
