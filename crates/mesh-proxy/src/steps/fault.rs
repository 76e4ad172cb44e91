//! Failures on purpose: they happen before anybody is asked, outside of the route's timeout and tries.

use http::StatusCode;

use crate::exchange::Exchange;
use crate::fail::{Fail, Flag};
use crate::grpc;
use crate::snapshot::{Abort, Fault};

/// Envoy's words.
const BODY: &str = "fault filter abort";

/// Lets a request wait, or refuses it, if its lot says so; `draw` gives a number below its argument.
pub(crate) async fn inject(
    x: &mut Exchange,
    fault: &Fault,
    mut draw: impl FnMut(u32) -> u32,
) -> Result<(), Fail> {
    if let Some((share, time)) = fault.delay
        && share.takes(&mut draw)
    {
        x.note(Flag::DelayInjected);
        tokio::time::sleep(time).await;
    }
    match fault.abort {
        Some((share, abort)) if share.takes(&mut draw) => Err(refusal(abort)),
        _ => Ok(()),
    }
}

fn refusal(abort: Abort) -> Fail {
    let (status, grpc) = match abort {
        Abort::Http(status) => (status, None),
        Abort::Grpc(code) => {
            let status = StatusCode::from_u16(grpc::http_status(code));
            (
                status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                Some(code),
            )
        }
    };
    Fail {
        status,
        grpc,
        body: Some(BODY),
        ..Fail::new(Flag::AbortInjected, "the route's fault has refused it")
    }
}
