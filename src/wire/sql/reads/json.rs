//! The SQL/JSON part of the tree, which is a language of its own.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    JsonAggConstructor, JsonArrayQueryConstructor, JsonBehavior, JsonFuncExpr, JsonKeyValue,
    JsonOutput, JsonTable, JsonTableColumn, JsonTablePathSpec, JsonValueExpr,
};

use super::Unfit;
use super::tree::{Found, Walk};

impl Walk {
    /// What is no node of SQL/JSON is not known at all.
    pub(super) fn json(&mut self, node: &NodeEnum) -> Found {
        use NodeEnum as N;
        match node {
            N::JsonValueExpr(value) => self.json_value(value),
            N::JsonKeyValue(pair) => self.json_pair(pair),
            N::JsonArgument(argument) => self.some_json_value(argument.val.as_deref()),
            N::JsonOutput(output) => self.json_output(Some(output)),
            N::JsonBehavior(behavior) => self.json_behavior(Some(behavior)),
            N::JsonTablePathSpec(path) => self.json_path(Some(path)),
            N::JsonFuncExpr(call) => self.json_call(call),
            N::JsonTable(table) => self.json_table(table),
            N::JsonTableColumn(column) => self.json_column(column),
            N::JsonAggConstructor(constructor) => self.json_constructor(Some(constructor)),
            N::JsonArrayQueryConstructor(array) => self.json_array_query(array),
            N::JsonIsPredicate(e) => self.some(e.expr.as_deref()),
            N::JsonParseExpr(e) => {
                self.some_json_value(e.expr.as_deref())?;
                self.json_output(e.output.as_ref())
            }
            N::JsonScalarExpr(e) => {
                self.some(e.expr.as_deref())?;
                self.json_output(e.output.as_ref())
            }
            N::JsonSerializeExpr(e) => {
                self.some_json_value(e.expr.as_deref())?;
                self.json_output(e.output.as_ref())
            }
            N::JsonObjectConstructor(e) => {
                self.all(&e.exprs)?;
                self.json_output(e.output.as_ref())
            }
            N::JsonArrayConstructor(e) => {
                self.all(&e.exprs)?;
                self.json_output(e.output.as_ref())
            }
            N::JsonObjectAgg(e) => {
                e.arg.as_ref().map_or(Ok(()), |pair| self.json_pair(pair))?;
                self.json_constructor(e.constructor.as_deref())
            }
            N::JsonArrayAgg(e) => {
                self.some_json_value(e.arg.as_deref())?;
                self.json_constructor(e.constructor.as_deref())
            }
            _ => Err(Unfit::Unknown),
        }
    }

    fn json_value(&mut self, value: &JsonValueExpr) -> Found {
        let JsonValueExpr {
            raw_expr,
            formatted_expr,
            format: _,
        } = value;
        self.some(raw_expr.as_deref())?;
        self.some(formatted_expr.as_deref())
    }

    fn some_json_value(&mut self, value: Option<&JsonValueExpr>) -> Found {
        value.map_or(Ok(()), |value| self.json_value(value))
    }

    fn json_pair(&mut self, pair: &JsonKeyValue) -> Found {
        let JsonKeyValue { key, value } = pair;
        self.some(key.as_deref())?;
        self.some_json_value(value.as_deref())
    }

    fn json_output(&mut self, output: Option<&JsonOutput>) -> Found {
        let Some(JsonOutput {
            type_name,
            returning: _,
        }) = output
        else {
            return Ok(());
        };
        self.some_type(type_name.as_ref())
    }

    fn json_behavior(&mut self, behavior: Option<&JsonBehavior>) -> Found {
        let Some(JsonBehavior {
            btype: _,
            expr,
            coerce: _,
            location: _,
        }) = behavior
        else {
            return Ok(());
        };
        self.some(expr.as_deref())
    }

    fn json_path(&mut self, path: Option<&JsonTablePathSpec>) -> Found {
        let Some(JsonTablePathSpec {
            string,
            name: _,
            name_location: _,
            location: _,
        }) = path
        else {
            return Ok(());
        };
        self.some(string.as_deref())
    }

    fn json_call(&mut self, call: &JsonFuncExpr) -> Found {
        let JsonFuncExpr {
            op: _,
            column_name: _,
            context_item,
            pathspec,
            passing,
            output,
            on_empty,
            on_error,
            wrapper: _,
            quotes: _,
            location: _,
        } = call;
        self.some_json_value(context_item.as_deref())?;
        self.some(pathspec.as_deref())?;
        self.all(passing)?;
        self.json_output(output.as_ref())?;
        self.json_behavior(on_empty.as_deref())?;
        self.json_behavior(on_error.as_deref())
    }

    fn json_table(&mut self, table: &JsonTable) -> Found {
        let JsonTable {
            context_item,
            pathspec,
            passing,
            columns,
            on_error,
            alias: _,
            lateral: _,
            location: _,
        } = table;
        self.some_json_value(context_item.as_deref())?;
        self.json_path(pathspec.as_deref())?;
        self.all(passing)?;
        self.all(columns)?;
        self.json_behavior(on_error.as_deref())
    }

    fn json_column(&mut self, column: &JsonTableColumn) -> Found {
        let JsonTableColumn {
            coltype: _,
            name: _,
            type_name,
            pathspec,
            format: _,
            wrapper: _,
            quotes: _,
            columns,
            on_empty,
            on_error,
            location: _,
        } = column;
        self.some_type(type_name.as_ref())?;
        self.json_path(pathspec.as_deref())?;
        self.all(columns)?;
        self.json_behavior(on_empty.as_deref())?;
        self.json_behavior(on_error.as_deref())
    }

    fn json_array_query(&mut self, array: &JsonArrayQueryConstructor) -> Found {
        let JsonArrayQueryConstructor {
            query,
            output,
            format: _,
            absent_on_null: _,
            location: _,
        } = array;
        self.some(query.as_deref())?;
        self.json_output(output.as_ref())
    }

    fn json_constructor(&mut self, constructor: Option<&JsonAggConstructor>) -> Found {
        let Some(JsonAggConstructor {
            output,
            agg_filter,
            agg_order,
            over,
            location: _,
        }) = constructor
        else {
            return Ok(());
        };
        self.json_output(output.as_ref())?;
        self.some(agg_filter.as_deref())?;
        self.all(agg_order)?;
        over.as_ref().map_or(Ok(()), |window| self.window(window))
    }
}
