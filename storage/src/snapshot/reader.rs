//! Reads a snapshot, believing nothing that its crc does not cover.

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{
    SnapshotError, SnapshotHeader, SnapshotSummary,
    format::{
        BLOCK_HEADER_BYTES, FOOTER_BYTES, FOOTER_MAGIC, FileCrc, HEADER_BYTES, PAYLOAD_BYTES_MAX,
        ROW_HEADER_BYTES, RawBlock, RawFooter, RawHeader, RawRow, parse_name,
    },
};
use crate::disk::{Disk, DiskFile};

/// An open snapshot. Header and footer are checked; the rows only once [`verify`](Self::verify)
/// returns, or, block by block, as [`rows`](Self::rows) reaches them.
pub struct SnapshotReader {
    file: Box<dyn DiskFile>,
    name: String,
    header: SnapshotHeader,
    footer: RawFooter,
    bytes: u64,
}

impl SnapshotReader {
    /// Opens a snapshot and checks its header, footer and length.
    pub fn open(disk: &dyn Disk, name: &str) -> Result<Self, SnapshotError> {
        let file = disk.open(name).map_err(SnapshotError::io(name))?;
        let bytes = file.len().map_err(SnapshotError::io(name))?;
        let mut reader = Self {
            file,
            name: name.to_owned(),
            header: SnapshotHeader::default(),
            footer: RawFooter::new_zeroed(),
            bytes,
        };
        let shortest = (HEADER_BYTES + FOOTER_BYTES) as u64;
        if bytes < shortest {
            return Err(reader.damaged(0, format!("at least {shortest} bytes"), format!("{bytes}")));
        }
        reader.header = reader.read_header()?;
        reader.footer = reader.read_footer()?;
        Ok(reader)
    }

    /// What the snapshot is of.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// What the snapshot says it holds.
    pub fn summary(&self) -> SnapshotSummary {
        SnapshotSummary {
            name: self.name.clone(),
            header: self.header,
            blocks: self.footer.blocks.get(),
            rows: self.footer.rows.get(),
            bytes: self.bytes,
        }
    }

    /// Bytes of the file as they stand, from `offset` on: at most so many, none behind its end.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn piece(&self, offset: u64, bytes_max: usize) -> Result<Vec<u8>, SnapshotError> {
        let mut piece = vec![0; self.bytes.saturating_sub(offset).min(bytes_max as u64) as usize];
        self.read_exact(offset, &mut piece)?;
        Ok(piece)
    }

    /// Reads every byte and compares every checksum and count.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        self.rows(|_, _, _| ())
    }

    /// Calls `row` with section, key and value of every row in order.
    ///
    /// A block's rows are shown only once its crc is right; the crc over the whole file is known
    /// only at the end, so what was done with the rows counts only if this returns `Ok`.
    pub fn rows(&self, mut row: impl FnMut(u8, &[u8], &[u8])) -> Result<(), SnapshotError> {
        let mut crc = FileCrc::new();
        crc.update(RawHeader::new(&self.header).as_bytes());
        let (mut blocks, mut rows) = (0, 0);
        let mut offset = HEADER_BYTES as u64;
        let end = self.bytes - FOOTER_BYTES as u64;
        let mut payload = Vec::new();
        while offset < end {
            let block = self.read_block(offset, end, &mut payload)?;
            crc.update(block.as_bytes());
            crc.update(&payload);
            self.show_rows(offset, &block, &payload, &mut row)?;
            blocks += 1;
            rows += u64::from(block.rows.get());
            offset += (BLOCK_HEADER_BYTES + payload.len()) as u64;
        }
        self.check("block count", end, self.footer.blocks.get(), blocks)?;
        self.check("row count", end, self.footer.rows.get(), rows)?;
        self.check("file crc", end, u64::from(self.footer.file_crc.get()), u64::from(crc.value()))
    }

    fn read_header(&self) -> Result<SnapshotHeader, SnapshotError> {
        let mut raw = RawHeader::new_zeroed();
        self.read_exact(0, raw.as_mut_bytes())?;
        let Some(header) = raw.check() else {
            return Err(self.damaged(0, "a snapshot header with its crc".into(), "other bytes".into()));
        };
        match parse_name(&self.name) {
            Some(lsn) if lsn != header.lsn => {
                Err(self.damaged(0, format!("lsn {lsn} as in the name"), format!("lsn {}", header.lsn)))
            }
            _ => Ok(header),
        }
    }

    fn read_footer(&self) -> Result<RawFooter, SnapshotError> {
        let offset = self.bytes - FOOTER_BYTES as u64;
        let mut footer = RawFooter::new_zeroed();
        self.read_exact(offset, footer.as_mut_bytes())?;
        if footer.magic != FOOTER_MAGIC || footer.crc.get() != footer.crc_of() {
            return Err(self.damaged(offset, "a snapshot footer with its crc".into(), "other bytes".into()));
        }
        self.check("file length", offset, footer.file_bytes.get(), self.bytes)?;
        Ok(footer)
    }

    fn read_block(&self, offset: u64, end: u64, payload: &mut Vec<u8>) -> Result<RawBlock, SnapshotError> {
        let mut block = RawBlock::new_zeroed();
        let body = offset + BLOCK_HEADER_BYTES as u64;
        if body <= end {
            self.read_exact(offset, block.as_mut_bytes())?;
        }
        let bytes = block.payload_bytes.get();
        // The length is believed only as far as the file goes: it is not checked yet.
        if body > end || u64::from(bytes) > end - body || bytes as usize > PAYLOAD_BYTES_MAX {
            return Err(self.damaged(
                offset,
                format!("a block within {} bytes", end - offset),
                format!("a payload of {bytes} bytes"),
            ));
        }
        payload.resize(bytes as usize, 0);
        self.read_exact(body, payload)?;
        self.check("block crc", offset, u64::from(block.crc.get()), u64::from(block.crc_of(payload)))?;
        Ok(block)
    }

    fn show_rows(
        &self,
        offset: u64,
        block: &RawBlock,
        payload: &[u8],
        row: &mut impl FnMut(u8, &[u8], &[u8]),
    ) -> Result<(), SnapshotError> {
        let mut rest = payload;
        for _ in 0..block.rows.get() {
            let Some((key, value, after)) = split_row(rest) else {
                let at = offset + (BLOCK_HEADER_BYTES + payload.len() - rest.len()) as u64;
                return Err(self.damaged(at, "a row".into(), format!("{} bytes", rest.len())));
            };
            row(block.section, key, value);
            rest = after;
        }
        self.check("bytes after the last row", offset, 0, rest.len() as u64)
    }

    fn read_exact(&self, offset: u64, mut buf: &mut [u8]) -> Result<(), SnapshotError> {
        let mut at = offset;
        while !buf.is_empty() {
            let read = self.file.read_at(at, buf).map_err(SnapshotError::io(&self.name))?;
            if read == 0 {
                return Err(self.damaged(at, format!("{} more bytes", buf.len()), "the end".into()));
            }
            at += read as u64;
            buf = &mut buf[read..];
        }
        Ok(())
    }

    fn check(&self, what: &str, offset: u64, expected: u64, found: u64) -> Result<(), SnapshotError> {
        if expected == found {
            return Ok(());
        }
        Err(self.damaged(offset, format!("{what} {expected:#x}"), format!("{found:#x}")))
    }

    fn damaged(&self, offset: u64, expected: String, found: String) -> SnapshotError {
        SnapshotError::Damaged { file: self.name.clone(), offset, expected, found }
    }
}

/// Key, value, and what follows them.
fn split_row(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (lengths, rest) = bytes.split_at_checked(ROW_HEADER_BYTES)?;
    let lengths = RawRow::read_from_bytes(lengths).ok()?;
    let (key, rest) = rest.split_at_checked(lengths.key_bytes.get() as usize)?;
    let (value, rest) = rest.split_at_checked(lengths.value_bytes.get() as usize)?;
    Some((key, value, rest))
}
