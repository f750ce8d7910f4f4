//! Products and transactions of a shop from CSV files, plain or zstd: what `onrush model` learns from and what
//! `loadgen replay` sells again.
//!
//! Columns go by name, in any order; others are ignored. A wrong value stops the run and is named
//! by file, line, column, what was expected and what was found.

pub mod past;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use csv::StringRecord;
use ruzstd::decoding::StreamingDecoder;

/// What a time may be: up to the year 9999.
const TIMES: &str = "unix seconds of 0 to 253,402,300,799";
const LAST_S: i64 = 253_402_300_799;

/// A product row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProductLine {
    /// Its id.
    pub id: u32,
    /// Its name; empty without the column, as the next two.
    pub name: String,
    /// Its category.
    pub category: String,
    /// Its brand.
    pub brand: String,
    /// Its price.
    pub price_cents: i64,
}

/// A transaction row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SaleLine {
    /// Which basket.
    pub basket: u32,
    /// Whose.
    pub user: u32,
    /// Which product.
    pub product: u32,
    /// How many, 1 to 1,000,000.
    pub quantity: u32,
    /// What was paid for all of them, not negative; `None` without the column.
    pub paid_cents: Option<i64>,
    /// Unix seconds.
    pub at_s: i64,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RetailError {
    /// It cannot be opened or read.
    #[error("{file}: expected a readable file: {source}")]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not CSV.
    #[error("{file}: line {line}: expected CSV: {reason}")]
    Csv {
        /// Which.
        file: PathBuf,
        /// Where.
        line: u64,
        /// Why.
        reason: String,
    },
    /// A column is missing.
    #[error("{file}: line 1: expected a column {column}, found {found}")]
    Column {
        /// Which file.
        file: PathBuf,
        /// Which column.
        column: &'static str,
        /// The header.
        found: String,
    },
    /// A value is wrong.
    #[error("{file}: line {line}, column {column}: expected {expected}, found {found:?}")]
    Value {
        /// Which file.
        file: PathBuf,
        /// Where.
        line: u64,
        /// Which column.
        column: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// There is a header and nothing else.
    #[error("{file}: expected at least one row below the header, found none")]
    Empty {
        /// Which.
        file: PathBuf,
    },
}

/// A row and where it stands.
struct Row<'a> {
    file: &'a Path,
    record: &'a StringRecord,
}

impl Row<'_> {
    fn text(&self, column: Column) -> &str {
        self.record.get(column.index).unwrap_or_default()
    }

    fn number<T: TryFrom<i64>>(&self, column: Column, expected: &'static str) -> Result<T, RetailError> {
        let text = self.text(column);
        let number = text.trim().parse::<i64>().ok().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.wrong(column, expected))
    }

    fn cents(&self, column: Column) -> Result<i64, RetailError> {
        const EXPECTED: &str = "whole cents, not negative";
        let cents: i64 = self.number(column, EXPECTED)?;
        if cents < 0 { Err(self.wrong(column, EXPECTED)) } else { Ok(cents) }
    }

    fn wrong(&self, column: Column, expected: &'static str) -> RetailError {
        RetailError::Value {
            file: self.file.to_path_buf(),
            line: self.record.position().map_or(0, csv::Position::line),
            column: column.name,
            expected,
            found: self.text(column).chars().take(40).collect(),
        }
    }
}

#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    index: usize,
}

/// Where the columns are.
struct Header<'a> {
    file: &'a Path,
    record: StringRecord,
}

impl Header<'_> {
    fn required(&self, name: &'static str) -> Result<Column, RetailError> {
        self.optional(name).ok_or_else(|| RetailError::Column {
            file: self.file.to_path_buf(),
            column: name,
            found: self.record.iter().collect::<Vec<_>>().join(","),
        })
    }

    fn optional(&self, name: &'static str) -> Option<Column> {
        self.record.iter().position(|column| column.trim() == name).map(|index| Column { name, index })
    }
}

/// Reads all products.
///
/// # Errors
/// What is wrong with the file, with its line and column.
pub fn products(file: &Path) -> Result<Vec<ProductLine>, RetailError> {
    let mut products = Vec::new();
    let sink = &mut products;
    read(file, |header| {
        let (id, price) = (header.required("id")?, header.required("price_cents")?);
        let [name, category, brand] = ["name", "category", "brand"].map(|name| header.optional(name));
        Ok(move |row: &Row<'_>| {
            let text = |column: Option<Column>| {
                column.map_or_else(String::new, |column| row.text(column).to_owned())
            };
            let price_cents = row.cents(price)?;
            let id = row.number(id, "a whole number of 0 to 4,294,967,295")?;
            sink.push(ProductLine {
                id,
                name: text(name),
                category: text(category),
                brand: text(brand),
                price_cents,
            });
            Ok(())
        })
    })?;
    Ok(products)
}

/// Hands every transaction to `take`; one of a product that `knows` does not know is refused.
///
/// # Errors
/// What is wrong with the file, with its line and column.
pub fn transactions(
    file: &Path,
    knows: &dyn Fn(u32) -> bool,
    take: &mut dyn FnMut(SaleLine),
) -> Result<(), RetailError> {
    read(file, |header| {
        let [basket, user, product, quantity, at] =
            ["basket", "user", "product", "qty", "ts"].map(|name| header.required(name));
        let (basket, user, product, quantity, at) = (basket?, user?, product?, quantity?, at?);
        let paid = header.optional("paid_cents");
        Ok(move |row: &Row<'_>| {
            let paid_cents = paid.map(|paid| row.cents(paid)).transpose()?;
            let line = SaleLine {
                basket: row.number(basket, "a whole number of 0 to 4,294,967,295")?,
                user: row.number(user, "a whole number of 0 to 4,294,967,295")?,
                product: row.number(product, "a whole number of 0 to 4,294,967,295")?,
                quantity: row.number(quantity, "a quantity of 1 to 1,000,000")?,
                paid_cents,
                at_s: row.number(at, TIMES)?,
            };
            if !(0..=LAST_S).contains(&line.at_s) {
                return Err(row.wrong(at, TIMES));
            }
            if !(1..=1_000_000).contains(&line.quantity) {
                return Err(row.wrong(quantity, "a quantity of 1 to 1,000,000"));
            }
            if !knows(line.product) {
                return Err(row.wrong(product, "a product of the catalogue"));
            }
            take(line);
            Ok(())
        })
    })
}

/// Reads a file: `bind` finds the columns, what it returns takes the rows.
fn read<'a, F>(
    file: &'a Path,
    bind: impl FnOnce(&Header<'a>) -> Result<F, RetailError>,
) -> Result<(), RetailError>
where
    F: FnMut(&Row<'_>) -> Result<(), RetailError>,
{
    let mut reader = csv::Reader::from_reader(open(file)?);
    let record = reader.headers().map_err(|error| broken(file, &error))?.clone();
    let mut take = bind(&Header { file, record })?;
    let mut record = StringRecord::new();
    let mut rows = 0u64;
    while reader.read_record(&mut record).map_err(|error| broken(file, &error))? {
        take(&Row { file, record: &record })?;
        rows += 1;
    }
    if rows == 0 {
        return Err(RetailError::Empty { file: file.to_path_buf() });
    }
    Ok(())
}

fn broken(file: &Path, error: &csv::Error) -> RetailError {
    let line = error.position().map_or(0, csv::Position::line);
    let reason = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("expected {expected_len} columns, found {len}")
        }
        csv::ErrorKind::Utf8 { .. } => "expected UTF-8, found other bytes".into(),
        csv::ErrorKind::Io(error) => error.to_string(),
        other => format!("{other:?}"),
    };
    RetailError::Csv { file: file.to_path_buf(), line, reason }
}

fn open(file: &Path) -> Result<Box<dyn Read>, RetailError> {
    let fail = |source| RetailError::Read { file: file.to_path_buf(), source };
    let plain = BufReader::with_capacity(1 << 16, File::open(file).map_err(fail)?);
    if file.extension().is_none_or(|extension| extension != "zst") {
        return Ok(Box::new(plain));
    }
    Ok(Box::new(Frames { decoder: Some(frame(plain).map_err(fail)?) }))
}

type FrameReader = StreamingDecoder<BufReader<File>, ruzstd::decoding::FrameDecoder>;

fn frame(source: BufReader<File>) -> std::io::Result<FrameReader> {
    StreamingDecoder::new(source)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string()))
}

/// A zstd file may hold several frames, one behind the other.
struct Frames {
    decoder: Option<FrameReader>,
}

impl Read for Frames {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let count = decoder.read(bytes)?;
            if count > 0 || bytes.is_empty() {
                return Ok(count);
            }
            let Some(decoder) = self.decoder.take() else { break };
            let mut source = decoder.into_inner();
            if !source.fill_buf()?.is_empty() {
                self.decoder = Some(frame(source)?);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn sales(text: &str) -> Result<Vec<SaleLine>, String> {
        let (file, mut lines) = (file(text), Vec::new());
        let read = transactions(file.path(), &|product| product < 100, &mut |line| lines.push(line));
        let name = file.path().display().to_string();
        read.map(|()| lines).map_err(|error| error.to_string().replace(&name, "FILE"))
    }

    const HEADER: &str = "ts,basket,user,product,qty,store\n";

    #[test]
    fn columns_go_by_name() {
        let lines = sales(&format!("{HEADER}1483271606,7,8,9,2,1\n")).unwrap();
        let line =
            SaleLine { basket: 7, user: 8, product: 9, quantity: 2, paid_cents: None, at_s: 1_483_271_606 };
        assert_eq!(lines, [line]);
        let paid = sales("ts,basket,user,product,qty,paid_cents\n1,1,1,1,2,50\n").unwrap();
        assert_eq!(paid[0].paid_cents, Some(50));
    }

    #[test]
    fn wrong_values_are_named_by_line_and_column() {
        for (rows, expected) in [
            (
                "1,1,1,1,1,1\n1,1,1,1,x,1\n",
                r#"FILE: line 3, column qty: expected a quantity of 1 to 1,000,000, found "x""#,
            ),
            (
                "1,1,1,1,0,1\n",
                r#"FILE: line 2, column qty: expected a quantity of 1 to 1,000,000, found "0""#,
            ),
            (
                "1,1,1,500,1,1\n",
                r#"FILE: line 2, column product: expected a product of the catalogue, found "500""#,
            ),
            (
                "soon,1,1,1,1,1\n",
                r#"FILE: line 2, column ts: expected unix seconds of 0 to 253,402,300,799, found "soon""#,
            ),
            (
                "-1,1,1,1,1,1\n",
                r#"FILE: line 2, column ts: expected unix seconds of 0 to 253,402,300,799, found "-1""#,
            ),
            (
                "1,4294967296,1,1,1,1\n",
                r#"FILE: line 2, column basket: expected a whole number of 0 to 4,294,967,295, found "4294967296""#,
            ),
            ("1,1,1,1,1,1\n1,1\n", "FILE: line 3: expected CSV: expected 6 columns, found 2"),
            ("", "FILE: expected at least one row below the header, found none"),
        ] {
            assert_eq!(sales(&format!("{HEADER}{rows}")).unwrap_err(), expected);
        }
        assert_eq!(
            sales("basket,user,product,ts\n1,1,1,1\n").unwrap_err(),
            "FILE: line 1: expected a column qty, found basket,user,product,ts"
        );
    }

    #[test]
    fn products_need_an_id_and_a_price() {
        let good = file("id,name,brand,price_cents\n5,\"Rolls, 4 OZ\",National,50\n");
        let line = &products(good.path()).unwrap()[0];
        assert_eq!((line.id, line.name.as_str(), line.price_cents), (5, "Rolls, 4 OZ", 50));
        let bad = file("id,price_cents\n5,-1\n");
        let error = products(bad.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("line 2, column price_cents: expected whole cents, not negative, found \"-1\""),
            "{error}"
        );
    }

    #[test]
    fn zstd_files_are_read_frame_by_frame() {
        // Two frames of raw blocks, written by hand: magic, descriptor (single segment), content
        // size, then a block header (last, raw, size) and the bytes.
        let frame = |text: &[u8]| {
            let mut bytes = vec![0x28, 0xB5, 0x2F, 0xFD, 0x20, text.len() as u8];
            let header = (text.len() as u32) << 3 | 1;
            bytes.extend_from_slice(&header.to_le_bytes()[..3]);
            bytes.extend_from_slice(text);
            bytes
        };
        let mut file = tempfile::Builder::new().suffix(".csv.zst").tempfile().unwrap();
        file.write_all(&frame(b"id,price_cents\n1,5")).unwrap();
        file.write_all(&frame(b"0\n2,60\n")).unwrap();
        let prices: Vec<i64> = products(file.path()).unwrap().iter().map(|line| line.price_cents).collect();
        assert_eq!(prices, [50, 60]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = products(Path::new("/nowhere/products.csv")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/products.csv: expected a readable file"), "{error}");
    }
}
