//! What a session id alone says.

use super::SessionId;

/// What is mixed into every password's seed: the same in all servers, Java's and ours.
const PASSWORD_SALT: i64 = 0xb341_5c00;

/// The session's password: 16 bytes of `java.util.Random` seeded with the id, so that any member can check it.
pub fn session_password(session: SessionId) -> [u8; 16] {
    const FACTOR: u64 = 0x5_deec_e66d;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((session ^ PASSWORD_SALT) as u64 ^ FACTOR) & MASK;
    let mut password = [0; 16];
    for word in password.as_chunks_mut::<4>().0 {
        state = state.wrapping_mul(FACTOR).wrapping_add(0xb) & MASK;
        *word = ((state >> 16) as u32).to_le_bytes();
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_one_that_a_real_server_gave() {
        let password = session_password(0x0100_000f_433d_0000);
        assert_eq!(u128::from_be_bytes(password), 0x993d633db2e139909fd0837d4bf6c4a8);
    }
}
