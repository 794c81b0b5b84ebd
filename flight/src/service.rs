//! The calls of Flight SQL.
//!
//! A statement is planned when its `FlightInfo` is asked for, and kept until its parts are fetched: planning again could select
//! other series, and the parts would not fit together. What each call does first is the same: it is let in, and its tenant,
//! which labels tell replicas apart, and how long it may take are read from its metadata.

mod catalog_calls;
mod request;
mod statement_calls;

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::metadata::SqlInfoData;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket,
};
use engine::sql::SqlEngine;
use futures::{Stream, TryStreamExt, stream};
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use crate::auth::Door;
use crate::held::Held;
use crate::metadata::sql_info;
use crate::settings::FlightSettings;
use crate::status::internal;

type DoGet = Response<<FlightSql as FlightService>::DoGetStream>;

/// Flight SQL over an engine.
pub struct FlightSql {
    sql: SqlEngine,
    settings: FlightSettings,
    door: Door,
    /// Swept by who serves.
    held: Arc<Held>,
    info: SqlInfoData,
}

impl FlightSql {
    /// A service over `sql`.
    ///
    /// # Errors
    /// Where what it says of itself does not fit the protocol.
    pub fn try_new(sql: SqlEngine, settings: FlightSettings) -> Result<Self, FlightError> {
        let info = sql_info(&settings.version)?;
        let door = Door::new(settings.authenticator.clone());
        Ok(Self { sql, settings, door, held: Arc::default(), info })
    }

    /// What it remembers between calls.
    pub(crate) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held)
    }
}

/// The descriptor of an answer with one part, whose ticket is the command itself.
fn info_of<M: ProstMessageExt>(
    command: &M,
    schema: &Schema,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(command.as_any().encode_to_vec()));
    let info = FlightInfo::new().try_with_schema(schema).map_err(internal)?;
    Ok(Response::new(info.with_endpoint(endpoint).with_descriptor(descriptor)))
}

/// One batch as an answer.
fn one_batch(batch: Result<RecordBatch, FlightError>) -> Result<DoGet, Status> {
    let batch = batch.map_err(internal)?;
    Ok(encoded(batch.schema(), stream::iter([Ok(batch)])))
}

/// What is sent of a column that is a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dictionaries {
    /// Itself: a label is sent once a batch, not once a row.
    Kept,
    /// Its values.
    Flat,
}

impl Dictionaries {
    /// The schema that is sent.
    fn schema(self, schema: &SchemaRef) -> SchemaRef {
        if self == Self::Kept {
            return Arc::clone(schema);
        }
        let flat = |field: &FieldRef| match field.data_type() {
            DataType::Dictionary(_, values) => Arc::new(field.as_ref().clone().with_data_type(*values.clone())),
            _ => Arc::clone(field),
        };
        let fields: Vec<FieldRef> = schema.fields().iter().map(flat).collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }
}

/// Batches as an answer, dictionaries as they are.
fn encoded(schema: SchemaRef, batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static) -> DoGet {
    encoded_with(schema, Dictionaries::Kept, batches)
}

/// Batches as an answer.
fn encoded_with(
    schema: SchemaRef,
    dictionaries: Dictionaries,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> DoGet {
    let data = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_dictionary_handling(match dictionaries {
            Dictionaries::Kept => DictionaryHandling::Resend,
            Dictionaries::Flat => DictionaryHandling::Hydrate,
        })
        .build(batches.map_err(|status| FlightError::Tonic(Box::new(status))))
        .map_err(Status::from);
    Response::new(Box::pin(data))
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>, Status> {
        let token = self.door.handshake(request.metadata()).await?;
        let bearer: MetadataValue<_> = format!("Bearer {token}").parse().map_err(internal)?;
        let answer = HandshakeResponse { protocol_version: 0, payload: token.into() };
        let answer: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(stream::iter([Ok(answer)]));
        let mut response = Response::new(answer);
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let statement = self.request(&request, query.query).await?;
        let dictionaries = request::dictionaries(request.metadata())?;
        self.plan_statement(statement, dictionaries, request.into_inner()).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let mut statement = self.request(&request, String::new()).await?;
        let prepared = self.held.prepared(&query.prepared_statement_handle)?;
        (statement.text, statement.parameters) = (prepared.text, prepared.parameters);
        let dictionaries = request::dictionaries(request.metadata())?;
        self.plan_statement(statement, dictionaries, request.into_inner()).await
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        self.fetch_statement(&ticket.statement_handle, request::dictionaries(request.metadata())?).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let statement = self.request(&request, query.query).await?;
        self.prepare_statement(statement, request::dictionaries(request.metadata())?).await
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        self.door.let_in(request.metadata()).await?;
        self.held.close(&query.prepared_statement_handle);
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        self.door.let_in(request.metadata()).await?;
        let parameters = crate::parameters::read_parameters(request.into_inner()).await?;
        self.held.bind(&query.prepared_statement_handle, parameters)?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(query.prepared_statement_handle) })
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        self.door.let_in(request.metadata()).await?;
        self.cancel_query(query)
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        self.door.let_in(request.metadata()).await?;
        self.other_action(&request.into_inner())
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        let description = "Cancels a statement whose FlightInfo is given".to_owned();
        Some(vec![Ok(ActionType { r#type: statement_calls::CANCEL_FLIGHT_INFO.to_owned(), description })])
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &query.into_builder().schema(), request.into_inner())
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, request: Request<Ticket>) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        catalog_calls::catalogs(query)
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &query.clone().into_builder().schema(), request.into_inner())
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        catalog_calls::schemas(query)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &query.clone().into_builder().schema(), request.into_inner())
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Result<DoGet, Status> {
        let statement = self.request(&request, String::new()).await?;
        self.tables(query, statement).await
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &query.into_builder().schema(), request.into_inner())
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, request: Request<Ticket>) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        catalog_calls::table_types(query)
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &query.clone().into_builder(&self.info).schema(), request.into_inner())
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, request: Request<Ticket>) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        one_batch(query.into_builder(&self.info).build())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &query.into_builder(catalog_calls::xdbc_types()?).schema(), request.into_inner())
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<Ticket>,
    ) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        one_batch(query.into_builder(catalog_calls::xdbc_types()?).build())
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &catalog_calls::PRIMARY_KEYS, request.into_inner())
    }

    async fn do_get_primary_keys(&self, _: CommandGetPrimaryKeys, request: Request<Ticket>) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        Ok(encoded(Arc::clone(&catalog_calls::PRIMARY_KEYS), stream::empty()))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &catalog_calls::FOREIGN_KEYS, request.into_inner())
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, request: Request<Ticket>) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        Ok(encoded(Arc::clone(&catalog_calls::FOREIGN_KEYS), stream::empty()))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &catalog_calls::FOREIGN_KEYS, request.into_inner())
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, request: Request<Ticket>) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        Ok(encoded(Arc::clone(&catalog_calls::FOREIGN_KEYS), stream::empty()))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.door.let_in(request.metadata()).await?;
        info_of(&query, &catalog_calls::FOREIGN_KEYS, request.into_inner())
    }

    async fn do_get_cross_reference(
        &self,
        _: CommandGetCrossReference,
        request: Request<Ticket>,
    ) -> Result<DoGet, Status> {
        self.door.let_in(request.metadata()).await?;
        Ok(encoded(Arc::clone(&catalog_calls::FOREIGN_KEYS), stream::empty()))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
