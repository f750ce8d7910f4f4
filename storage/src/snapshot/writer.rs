//! Writes a snapshot, block by block.

use std::sync::Arc;

use zerocopy::IntoBytes;

use super::{
    SnapshotError, SnapshotHeader, SnapshotSummary,
    format::{
        BLOCK_BYTES, BLOCK_HEADER_BYTES, FOOTER_BYTES, FOOTER_MAGIC, FileCrc, ROW_BYTES_MAX,
        ROW_HEADER_BYTES, RawBlock, RawFooter, RawHeader, RawRow, file_name,
    },
};
use crate::disk::{Disk, DiskFile};

/// A snapshot under way. Dropped before [`finish`](Self::finish), it leaves a `.tmp` file that the
/// next [`prune`](super::prune) removes.
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    unfinished_name: String,
    header: SnapshotHeader,
    /// Length of the file so far, and the crc of those bytes.
    offset: u64,
    crc: FileCrc,
    /// The open block: room for its header, then rows.
    block: Vec<u8>,
    block_rows: u32,
    section: u8,
    last_key: Option<Vec<u8>>,
    blocks: u64,
    rows: u64,
}

impl SnapshotWriter {
    /// Starts a snapshot; one of the same Lsn is replaced when this one is finished.
    pub fn create(disk: Arc<dyn Disk>, header: SnapshotHeader) -> Result<Self, SnapshotError> {
        let unfinished_name = file_name(header.lsn, "tmp");
        let file = disk.create(&unfinished_name, 0).map_err(SnapshotError::io(&unfinished_name))?;
        let mut writer = Self {
            disk,
            file,
            unfinished_name,
            header,
            offset: 0,
            crc: FileCrc::new(),
            block: vec![0; BLOCK_HEADER_BYTES],
            block_rows: 0,
            section: 0,
            last_key: None,
            blocks: 0,
            rows: 0,
        };
        writer.append(RawHeader::new(&header).as_bytes())?;
        Ok(writer)
    }

    /// Appends a row. Sections ascend, and keys ascend within a section.
    pub fn push(&mut self, section: u8, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        self.check_order(section, key)?;
        let bytes = ROW_HEADER_BYTES + key.len() + value.len();
        if bytes > ROW_BYTES_MAX {
            return Err(SnapshotError::RowSize { max: ROW_BYTES_MAX, bytes });
        }
        if section != self.section {
            self.close_block()?;
            self.section = section;
        }
        let lengths =
            RawRow { key_bytes: (key.len() as u32).into(), value_bytes: (value.len() as u32).into() };
        self.block.extend_from_slice(lengths.as_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        self.block_rows += 1;
        self.rows += 1;
        let last_key = self.last_key.get_or_insert_default();
        last_key.clear();
        last_key.extend_from_slice(key);
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    /// Writes what is left and gives the file its name. The snapshot is durable when this returns.
    pub fn finish(mut self) -> Result<SnapshotSummary, SnapshotError> {
        self.close_block()?;
        let bytes = self.offset + FOOTER_BYTES as u64;
        let mut footer = RawFooter {
            magic: FOOTER_MAGIC,
            blocks: self.blocks.into(),
            rows: self.rows.into(),
            file_bytes: bytes.into(),
            reserved: [0; 8],
            file_crc: self.crc.value().into(),
            crc: 0.into(),
        };
        footer.crc = footer.crc_of().into();
        self.append(footer.as_bytes())?;
        let name = file_name(self.header.lsn, "snap");
        self.file.sync().map_err(SnapshotError::io(&self.unfinished_name))?;
        self.disk.rename(&self.unfinished_name, &name).map_err(SnapshotError::io(&name))?;
        Ok(SnapshotSummary { name, header: self.header, blocks: self.blocks, rows: self.rows, bytes })
    }

    fn check_order(&self, section: u8, key: &[u8]) -> Result<(), SnapshotError> {
        let ascends = match &self.last_key {
            None => true,
            Some(last) => (self.section, last.as_slice()) < (section, key),
        };
        if ascends { Ok(()) } else { Err(SnapshotError::OutOfOrder { section, key: key.to_vec() }) }
    }

    fn close_block(&mut self) -> Result<(), SnapshotError> {
        if self.block_rows == 0 {
            return Ok(());
        }
        let mut block = std::mem::take(&mut self.block);
        let payload = &block[BLOCK_HEADER_BYTES..];
        let mut header = RawBlock {
            payload_bytes: (payload.len() as u32).into(),
            rows: self.block_rows.into(),
            section: self.section,
            reserved: [0; 3],
            crc: 0.into(),
        };
        header.crc = header.crc_of(payload).into();
        block[..BLOCK_HEADER_BYTES].copy_from_slice(header.as_bytes());
        self.append(&block)?;
        block.truncate(BLOCK_HEADER_BYTES);
        self.block = block;
        self.block_rows = 0;
        self.blocks += 1;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.file.write_at(self.offset, bytes).map_err(SnapshotError::io(&self.unfinished_name))?;
        self.crc.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
