//! A snapshot's file: written, damaged or forged as the input says, and read.

use std::sync::Arc;

use onrush_storage::disk::{Disk, FaultDisk};
use onrush_storage::snapshot::{
    SnapshotError, SnapshotHeader, SnapshotReader, SnapshotWriter, newest_verified,
};

use crate::heap::within;
use crate::program::{Program, crc_of, number, overwrite};

const HEADER_BYTES: usize = 64;
const BLOCK_HEADER_BYTES: usize = 16;
const FOOTER_BYTES: usize = 48;
const LSN: u64 = 7;
/// Bytes of heap beside those of the file: texts of errors, names.
const HEAP_BYTES: usize = 64 << 10;

type Row = (u8, Vec<u8>, Vec<u8>);

/// How the input treats the file. One bit each.
const RAW: u8 = 1;
const FORGED: u8 = 2;
const DAMAGED: u8 = 4;

/// Does what the input says.
pub(crate) fn snapshot(input: &[u8]) {
    let mut program = Program(input);
    let treatment = program.byte();
    let disk = FaultDisk::new(1);
    if treatment & RAW != 0 {
        let mut bytes = program.0.to_vec();
        if treatment & FORGED != 0 {
            forge(&mut bytes);
        }
        let name = format!("snapshot-{LSN:020}.snap");
        let created = disk.create(&name, bytes.len() as u64);
        assert!(created.is_ok());
        overwrite(&disk, &name, 0, &bytes);
        read(&disk, &name);
        return;
    }
    let rows = rows(&mut program);
    let name = write(&disk, SnapshotHeader { lsn: LSN, shard: 3, ..SnapshotHeader::default() }, &rows);
    let Some(name) = name.ok() else { panic!("expected rows in order to be written") };
    let before = disk.contents(&name).ok();
    if treatment & DAMAGED != 0 {
        damage(&disk, &name, &mut program);
    }
    if treatment & FORGED != 0 {
        let at = program.below(before.as_ref().map_or(0, Vec::len));
        let count = usize::from(program.byte() % 9);
        overwrite(&disk, &name, at, &program.bytes(count));
        let mut bytes = disk.contents(&name).unwrap_or_default();
        forge(&mut bytes);
        overwrite(&disk, &name, 0, &bytes);
    }
    let whole = before == disk.contents(&name).ok();
    let found = read(&disk, &name);
    if whole {
        assert_eq!(found, Some(rows), "what was written is read");
    } else if treatment & FORGED == 0 {
        assert_eq!(found, None, "damage is found");
    }
}

/// Some rows, in order.
fn rows(program: &mut Program<'_>) -> Vec<Row> {
    let count = program.byte() % 12;
    let mut section = 0;
    let mut rows = Vec::new();
    for index in 0..count {
        let sizes = program.byte();
        section += sizes & 1;
        let key = [vec![index], vec![7; usize::from(sizes >> 4)]].concat();
        rows.push((section, key, vec![index; program.below(300)]));
    }
    rows
}

fn write(disk: &FaultDisk, header: SnapshotHeader, rows: &[Row]) -> Result<String, SnapshotError> {
    let mut writer = SnapshotWriter::create(Arc::new(disk.clone()), header)?;
    rows.iter().try_for_each(|(section, key, value)| writer.push(*section, key, value))?;
    Ok(writer.finish()?.name)
}

/// One bit, or an end that is missing.
fn damage(disk: &FaultDisk, name: &str, program: &mut Program<'_>) {
    let length = disk.contents(name).map_or(0, |bytes| bytes.len());
    let at = program.below(length) as u64;
    let done = match program.byte() {
        cut if cut % 4 == 0 => disk.truncate(name, at),
        bit => disk.flip_bit(name, at, bit),
    };
    assert!(done.is_ok());
}

/// All rows if every byte is as it should be.
fn read(disk: &FaultDisk, name: &str) -> Option<Vec<Row>> {
    let length = disk.contents(name).map_or(0, |bytes| bytes.len());
    let bound = HEAP_BYTES + 4 * length;
    let verified = newest_verified(disk).is_ok_and(|newest| newest.reader.is_some());
    let opened = within(bound, || SnapshotReader::open(disk, name));
    let Ok(reader) = opened else {
        assert!(!verified);
        return None;
    };
    let whole = within(bound, || reader.verify()).is_ok();
    assert_eq!(whole, verified);
    let mut rows: Vec<Row> = Vec::new();
    let done = reader.rows(|section, key, value| rows.push((section, key.to_vec(), value.to_vec())));
    assert_eq!(done.is_ok(), whole);
    if !whole {
        return None;
    }
    assert_eq!(reader.summary().rows, rows.len() as u64);
    again(reader.header(), &rows);
    Some(rows)
}

/// What was read is written and read as the same, if it stood in order.
fn again(header: &SnapshotHeader, rows: &[Row]) {
    let disk = FaultDisk::new(2);
    let Ok(name) = write(&disk, *header, rows) else { return };
    let mut found: Vec<Row> = Vec::new();
    let read = SnapshotReader::open(&disk, &name).and_then(|reader| {
        assert_eq!(reader.header(), header);
        reader.rows(|section, key, value| found.push((section, key.to_vec(), value.to_vec())))
    });
    assert!(read.is_ok() && found == rows);
}

/// Makes every checksum and every count right, as far as the lengths lead.
fn forge(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES + FOOTER_BYTES {
        return;
    }
    let crc = crc_of(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc);
    let (end, length) = (bytes.len() - FOOTER_BYTES, bytes.len() as u64);
    let (mut at, mut blocks, mut rows) = (HEADER_BYTES, 0u64, 0u64);
    while at + BLOCK_HEADER_BYTES <= end {
        let payload = number(bytes, at);
        let body = at + BLOCK_HEADER_BYTES;
        if payload > end - body {
            break;
        }
        let covered = [&bytes[at..at + 12], &bytes[body..body + payload]].concat();
        bytes[at + 12..at + 16].copy_from_slice(&crc_of(&covered));
        (blocks, rows) = (blocks + 1, rows + number(bytes, at + 4) as u64);
        at = body + payload;
    }
    let file_crc = crc_of(&bytes[..end]);
    let footer = &mut bytes[end..];
    footer[..8].copy_from_slice(b"onrushfo");
    for (place, number) in [(8, blocks), (16, rows), (24, length)] {
        footer[place..place + 8].copy_from_slice(&number.to_le_bytes());
    }
    footer[40..44].copy_from_slice(&file_crc);
    let crc = crc_of(&footer[..44]);
    footer[44..48].copy_from_slice(&crc);
}
