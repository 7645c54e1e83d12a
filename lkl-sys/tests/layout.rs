//! The hand-written declarations against LKL's own headers, field by field.

#[cfg(not(lkl_headers))]
#[test]
fn skipped_without_the_headers_of_lkl() {
    eprintln!("skipped: LKL_DIR was not set (or libclang is missing) when this was built");
}

#[cfg(lkl_headers)]
mod with_headers {
    use lkl_sys::{headers, *};
    use std::mem::{offset_of, size_of};

    /// The layout of x86-64 and aarch64 stands here, too, so that a change on
    /// either side names the field.
    macro_rules! same {
        ($ours:ty, $theirs:ty, $size:expr, $($field:ident / $their_field:ident @ $at:expr),*) => {
            $(
                let (ours, theirs) =
                    (offset_of!($ours, $field), offset_of!($theirs, $their_field));
                assert!(
                    ours == theirs && ours == $at,
                    "{}.{}: at {ours} here, at {theirs} in the headers of LKL_DIR",
                    stringify!($theirs), stringify!($their_field),
                );
            )*
            let (ours, theirs) = (size_of::<$ours>(), size_of::<$theirs>());
            assert!(
                ours == theirs && ours == $size,
                "{}: {ours} bytes here, {theirs} in the headers of LKL_DIR",
                stringify!($theirs),
            );
        };
    }

    #[test]
    fn each_field_lies_where_lkl_has_it() {
        same!(Netdev, headers::lkl_netdev, 16, ops / ops @ 0, id / id @ 8, flags / _bitfield_1 @ 12);
        same!(
            NetOps, headers::lkl_dev_net_ops, 40,
            tx / tx @ 0, rx / rx @ 8, poll / poll @ 16, poll_hup / poll_hup @ 24, free / free @ 32
        );
        same!(NetdevArgs, headers::lkl_netdev_args, 16, mac / mac @ 0, offload / offload @ 8);
        same!(Iovec, headers::iovec, 16, iov_base / iov_base @ 0, iov_len / iov_len @ 8);
    }

    #[test]
    fn the_vnet_header_flag_is_the_bit_that_lkl_tests() {
        let mut theirs = headers::lkl_netdev {
            ops: std::ptr::null_mut(),
            id: 0,
            _bitfield_align_1: [],
            _bitfield_1: headers::lkl_netdev::new_bitfield_1(0),
            __bindgen_padding_0: Default::default(),
        };
        theirs.set_has_vnet_hdr(1);
        assert_eq!(theirs._bitfield_1.get(0, 8), u64::from(HAS_VNET_HDR), "has_vnet_hdr");
    }

    #[test]
    fn the_poll_flags_are_the_same() {
        assert_eq!(POLL_RX as u32, headers::LKL_DEV_NET_POLL_RX, "LKL_DEV_NET_POLL_RX");
        assert_eq!(POLL_TX as u32, headers::LKL_DEV_NET_POLL_TX, "LKL_DEV_NET_POLL_TX");
        assert_eq!(POLL_HUP as u32, headers::LKL_DEV_NET_POLL_HUP, "LKL_DEV_NET_POLL_HUP");
    }
}
