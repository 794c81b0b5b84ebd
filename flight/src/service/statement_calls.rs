//! Statements: planned, fetched part by part, prepared, cancelled.
//!
//! The ticket of a part is the name of its statement, a dot and its number.

use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionCreatePreparedStatementResult, Any, Command,
    ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightEndpoint,
    FlightInfo, IpcMessage, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use engine::sql::SqlRequest;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Response, Status};

use super::{Dictionaries, DoGet, FlightSql, encoded_with};
use crate::status::{internal, status};

/// The action of Flight, beside that of Flight SQL, that stops a statement.
pub(super) const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";

impl FlightSql {
    /// Plans a statement and says where its parts are.
    ///
    /// # Errors
    /// As the engine's.
    pub(super) async fn plan_statement(
        &self,
        request: SqlRequest,
        dictionaries: Dictionaries,
        descriptor: FlightDescriptor,
    ) -> Result<Response<FlightInfo>, Status> {
        let pass = self.admit(request.timeout).await?;
        let query = self.sql.plan(request).await.map_err(status)?;
        drop(pass);
        let (parts, warnings) = (query.partitions(), query.warnings());
        let schema = dictionaries.schema(&query.schema());
        let name = self.held.plan(query)?;
        let mut info = FlightInfo::new().try_with_schema(&schema).map_err(internal)?.with_descriptor(descriptor);
        for part in 0..parts {
            let ticket = TicketStatementQuery { statement_handle: format!("{name}.{part}").into() };
            info = info.with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec())));
        }
        // what the answer may lack, a line each
        Ok(Response::new(info.with_ordered(true).with_app_metadata(warnings.join("\n"))))
    }

    /// The batches of one part.
    ///
    /// # Errors
    /// `NOT_FOUND` where it was fetched already, and as the engine's.
    pub(super) async fn fetch_statement(&self, handle: &[u8], dictionaries: Dictionaries) -> Result<DoGet, Status> {
        let (name, part) = parse_handle(handle)?;
        let pass = self.admit(None).await?;
        let query = self.held.take_part(name, part)?;
        let mut cancelled = self.held.run(name);
        let batches = query.stream_partition(part).map_err(status)?;
        let schema = batches.schema();
        let cancel = async move {
            // never, where nobody can cancel it any more
            if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let cancel = cancel.shared();
        let batches = batches.map_err(status).take_until(cancel.clone());
        // an answer that is cut short must not look like a whole one
        let ending = stream::iter([()]).filter_map(move |()| {
            let cancelled = cancel.clone().now_or_never().is_some();
            async move { cancelled.then(|| Err(Status::cancelled("the statement was cancelled"))) }
        });
        let held = stream::poll_fn(move |_| {
            // until here the pass and the plan are held
            let _ = (&pass, &query);
            std::task::Poll::Ready(None)
        });
        Ok(encoded_with(schema, dictionaries, batches.chain(ending).chain(held)))
    }

    /// Remembers a statement, and says what it takes and gives.
    ///
    /// # Errors
    /// As the engine's.
    pub(super) async fn prepare_statement(
        &self,
        request: SqlRequest,
        dictionaries: Dictionaries,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let pass = self.admit(request.timeout).await?;
        let description = self.sql.describe(request.clone()).await.map_err(status)?;
        drop(pass);
        let options = IpcWriteOptions::default();
        let bytes = |schema: &arrow::datatypes::Schema| -> Result<Bytes, Status> {
            let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options).try_into().map_err(internal)?;
            Ok(bytes)
        };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.held.prepare(request.text)?.into(),
            dataset_schema: bytes(&dictionaries.schema(&description.schema))?,
            parameter_schema: bytes(&description.parameters)?,
        })
    }

    /// Stops the statement whose `FlightInfo` is given, in the way of Flight SQL.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`
    pub(super) fn cancel_query(&self, query: ActionCancelQueryRequest) -> Result<ActionCancelQueryResult, Status> {
        // as the protocol numbers them; the library does not export its names
        const CANCELLED: i32 = 1;
        const NOT_CANCELLABLE: i32 = 3;
        let info = FlightInfo::decode(query.info).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(ActionCancelQueryResult { result: if self.cancel(&info) { CANCELLED } else { NOT_CANCELLABLE } })
    }

    /// Actions of Flight itself.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for those that are not known.
    pub(super) fn other_action(
        &self,
        action: &Action,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        if action.r#type != CANCEL_FLIGHT_INFO {
            return Err(Status::invalid_argument(format!("there is no action {:?}", action.r#type)));
        }
        let request = CancelFlightInfoRequest::decode(action.body.clone());
        let request = request.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let cancelled = request.info.is_some_and(|info| self.cancel(&info));
        let result = if cancelled { CancelStatus::Cancelled } else { CancelStatus::NotCancellable };
        let body = CancelFlightInfoResult { status: result as i32 }.encode_to_vec().into();
        Ok(Response::new(Box::pin(stream::iter([Ok(arrow_flight::Result { body })]))))
    }

    fn cancel(&self, info: &FlightInfo) -> bool {
        let names = info.endpoint.iter().filter_map(|endpoint| {
            let ticket = Any::decode(endpoint.ticket.as_ref()?.ticket.clone()).ok()?;
            match Command::try_from(ticket).ok()? {
                Command::TicketStatementQuery(ticket) => {
                    Some(parse_handle(&ticket.statement_handle).ok()?.0.to_owned())
                }
                _ => None,
            }
        });
        let names: std::collections::BTreeSet<String> = names.collect();
        names.iter().filter(|name| self.held.cancel(name)).count() > 0
    }
}

/// Name and part of a ticket.
fn parse_handle(handle: &[u8]) -> Result<(&str, usize), Status> {
    let parsed = std::str::from_utf8(handle).ok().and_then(|text| text.split_once('.'));
    let parsed = parsed.and_then(|(name, part)| Some((name, part.parse().ok()?)));
    parsed.ok_or_else(|| Status::invalid_argument("the ticket is not one of this server's"))
}
