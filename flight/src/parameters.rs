//! Parameters of prepared statements: the one row of batches that a client puts.

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use engine::sql::ScalarValue;
use futures::TryStreamExt;
use tonic::Status;

/// Most bytes that are read of parameters.
const BYTES_MAX: usize = 1 << 20;

/// The values of one row.
///
/// # Errors
/// `INVALID_ARGUMENT` where there are several rows, or what comes is no Arrow.
pub(crate) async fn read_parameters(data: PeekableFlightDataStream) -> Result<Vec<ScalarValue>, Status> {
    let wrong = |error: FlightError| Status::invalid_argument(format!("the parameters cannot be read: {error}"));
    let mut bytes = 0;
    let data = data.into_peekable().map_err(FlightError::from).and_then(move |data| {
        bytes += data.data_body.len();
        let fits = bytes <= BYTES_MAX;
        async move { if fits { Ok(data) } else { Err(FlightError::protocol(format!("more than {BYTES_MAX} bytes"))) } }
    });
    let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
    let mut values = None;
    while let Some(batch) = batches.try_next().await.map_err(wrong)? {
        if batch.num_rows() == 0 {
            continue;
        }
        if batch.num_rows() > 1 || values.is_some() {
            return Err(Status::invalid_argument("a statement is run with one row of parameters at a time"));
        }
        let row = batch.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
        let row = row.collect::<Result<Vec<_>, _>>();
        values = Some(row.map_err(|error| Status::invalid_argument(error.to_string()))?);
    }
    Ok(values.unwrap_or_default())
}
