//! Messages that only the browser reads (RFC 8291, in the coding `aes128gcm` of RFC 8188).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;

/// Bytes of a point on P-256 as it travels, without compression.
pub(super) const POINT_BYTES: usize = 65;
/// Bytes of the browser's secret.
pub(super) const SECRET_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
/// What every push service takes (RFC 8030); the whole body is one record.
const BODY_BYTES_MAX: usize = 4_096;
/// Salt, record size, length of the key, the key.
const HEADER_BYTES: usize = SALT_BYTES + 4 + 1 + POINT_BYTES;
/// Most bytes of a message: header, delimiter and tag are not of it.
pub(super) const MESSAGE_BYTES_MAX: usize = BODY_BYTES_MAX - HEADER_BYTES - 1 - 16;

/// What a browser gave to seal messages with.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    /// Its public key.
    pub point: &'a [u8],
    /// Its secret.
    pub secret: &'a [u8],
}

/// True if this is a point that a message can be sealed for.
pub(super) fn is_point(bytes: &[u8]) -> bool {
    let Ok(own) = PrivateKey::generate(&ECDH_P256) else { return false };
    let peer = UnparsedPublicKey::new(&ECDH_P256, bytes);
    bytes.len() == POINT_BYTES && agree(&own, peer, Unspecified, |_| Ok(())).is_ok()
}

/// Seals a message under a key of its own.
pub(super) fn seal(message: &[u8], keys: Keys<'_>) -> Result<Vec<u8>, Unspecified> {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt)?;
    seal_with(message, keys, &PrivateKey::generate(&ECDH_P256)?, salt)
}

fn seal_with(
    message: &[u8],
    keys: Keys<'_>,
    own: &PrivateKey,
    salt: [u8; SALT_BYTES],
) -> Result<Vec<u8>, Unspecified> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Unspecified);
    }
    let public = own.compute_public_key()?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, keys.point);
    let input: [u8; 32] = agree(own, peer, Unspecified, |shared| {
        let prk = Salt::new(HKDF_SHA256, keys.secret).extract(shared);
        derive(&prk, &[b"WebPush: info\0", keys.point, public.as_ref()])
    })?;
    let prk = Salt::new(HKDF_SHA256, &salt).extract(&input);
    let key: [u8; KEY_BYTES] = derive(&prk, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; NONCE_BYTES] = derive(&prk, &[b"Content-Encoding: nonce\0"])?;

    let mut body = Vec::with_capacity(BODY_BYTES_MAX);
    body.extend_from_slice(&salt);
    body.extend_from_slice(&(BODY_BYTES_MAX as u32).to_be_bytes());
    body.push(POINT_BYTES as u8);
    body.extend_from_slice(public.as_ref());
    // 2 says that this record is the last one.
    let mut record = [message, &[2]].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)?;
    body.extend_from_slice(&record);
    Ok(body)
}

/// A length that is asked of HKDF.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut bytes = [0; N];
    prk.expand(info, Length(N))?.fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// RFC 8291, Appendix A.
    #[test]
    fn a_message_is_sealed_as_the_rfc_shows() {
        let point =
            bytes("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4");
        let secret = bytes("BTBZMqHH6r4Tts7J_aSIgg");
        let own = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let own = PrivateKey::from_private_key(&ECDH_P256, &own).unwrap();
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let keys = Keys { point: &point, secret: &secret };
        let message = b"When I grow up, I want to be a watermelon";
        let sealed = seal_with(message, keys, &own, salt).unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.encode(sealed),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz\
             AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
        assert!(is_point(&point));
    }

    #[test]
    fn a_body_never_exceeds_what_every_service_takes_and_no_two_are_alike() {
        let point =
            bytes("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4");
        let keys = Keys { point: &point, secret: &[7; SECRET_BYTES] };
        let longest = vec![b'x'; MESSAGE_BYTES_MAX];
        let (one, two) = (seal(&longest, keys).unwrap(), seal(&longest, keys).unwrap());
        assert_eq!((one.len(), one == two), (BODY_BYTES_MAX, false));
        assert!(seal(&vec![b'x'; MESSAGE_BYTES_MAX + 1], keys).is_err());
        let mut off_the_curve = point.clone();
        off_the_curve[64] ^= 1;
        for wrong in [&off_the_curve[..], &point[..64], &point[1..], &[0; POINT_BYTES], &[]] {
            assert!(!is_point(wrong));
            assert!(seal(b"x", Keys { point: wrong, ..keys }).is_err());
        }
    }
}
