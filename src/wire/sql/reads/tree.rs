//! PostgreSQL's parse tree of a text, walked as a whole.
//!
//! Each node is taken apart field by field, without `..`: a part that a newer parser adds is a
//! compile error here, not a part that nobody has looked at.

use std::collections::HashSet;

use pg_query::protobuf::{
    AExpr, AIndices, AIndirection, CaseExpr, CaseWhen, ColumnDef, ColumnRef, CommonTableExpr,
    CteCycleClause, FuncCall, JoinExpr, Node, RangeFunction, RangeTableFunc, RangeTableFuncCol,
    RangeVar, ResTarget, SelectStmt, SortBy, SubLink, TypeCast, TypeName, WindowDef, WithClause,
    XmlExpr, XmlSerialize, a_const,
};
use pg_query::{NodeEnum, ParserOptions};

use super::{Name, Reading, Unfit, builtin};

/// What was found, or why the text is unfit.
pub(super) type Found = Result<(), Unfit>;

/// Reads a text.
pub(super) fn reading(text: &str) -> Result<Reading, Unfit> {
    let mut walk = Walk::default();
    walk.text(text, ParserOptions::DEFAULT)?;
    // What a backslash in a string means is a setting: the text must be fit in either reading.
    if text.contains('\\') {
        let other = ParserOptions::DISABLE_STANDARD_CONFORMING_STRINGS
            | ParserOptions::DISABLE_ESCAPE_STRING_WARNING;
        walk.text(text, other)?;
    }
    let mut names: Vec<Name> = walk.names.into_iter().collect();
    names.sort_unstable();
    Ok(Reading {
        names: names.into(),
    })
}

/// A walk over a tree.
#[derive(Default)]
pub(super) struct Walk {
    names: HashSet<Name>,
}

impl Walk {
    fn text(&mut self, text: &str, options: ParserOptions) -> Found {
        let tree = pg_query::parse(text, options).map_err(|_| Unfit::Unparsable)?;
        match &*tree.protobuf.stmts {
            [] => Err(Unfit::NotSelect),
            [statement] => match statement
                .stmt
                .as_deref()
                .and_then(|node| node.node.as_ref())
            {
                Some(NodeEnum::SelectStmt(select)) => self.select(select),
                // What would be a statement of its own, were there no WITH in front.
                Some(
                    NodeEnum::InsertStmt(_)
                    | NodeEnum::UpdateStmt(_)
                    | NodeEnum::DeleteStmt(_)
                    | NodeEnum::MergeStmt(_),
                ) => Err(Unfit::Writes),
                _ => Err(Unfit::NotSelect),
            },
            _ => Err(Unfit::Several),
        }
    }

    pub(super) fn all(&mut self, nodes: &[Node]) -> Found {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    pub(super) fn some(&mut self, node: Option<&Node>) -> Found {
        node.map_or(Ok(()), |node| self.node(node))
    }

    pub(super) fn node(&mut self, node: &Node) -> Found {
        use NodeEnum as N;
        let Some(node) = node.node.as_ref() else {
            return Ok(());
        };
        match node {
            N::SelectStmt(select) => self.select(select),
            N::InsertStmt(_) | N::UpdateStmt(_) | N::DeleteStmt(_) | N::MergeStmt(_) => {
                Err(Unfit::Writes)
            }
            N::IntoClause(_) => Err(Unfit::Writes),
            N::LockingClause(_) => Err(Unfit::Locks),
            N::RangeTableSample(_) => Err(Unfit::Volatile),
            N::RangeVar(relation) => self.relation(relation),
            N::RangeSubselect(sub) => self.some(sub.subquery.as_deref()),
            N::RangeFunction(function) => self.range_function(function),
            N::RangeTableFunc(table) => self.table_function(table),
            N::RangeTableFuncCol(column) => self.table_column(column),
            N::JoinExpr(join) => self.join(join),
            N::WithClause(with) => self.with(with),
            N::CommonTableExpr(table) => self.common_table(table),
            N::ColumnDef(column) => self.column_definition(column),
            N::List(list) => self.all(&list.items),
            _ => self.expression(node),
        }
    }

    fn expression(&mut self, node: &NodeEnum) -> Found {
        use NodeEnum as N;
        match node {
            N::ColumnRef(column) => self.column(column),
            N::FuncCall(call) => self.call(call),
            N::AExpr(expression) => self.operation(expression),
            N::TypeCast(cast) => self.cast(cast),
            N::TypeName(name) => self.type_name(name),
            N::SubLink(link) => self.sub_link(link),
            N::CaseExpr(case) => self.case(case),
            N::CaseWhen(when) => self.when(when),
            N::AIndirection(indirection) => self.indirection(indirection),
            N::AIndices(indices) => self.indices(indices),
            N::ResTarget(target) => self.target(target),
            N::SortBy(sort) => self.sort(sort),
            N::WindowDef(window) => self.window(window),
            N::XmlExpr(xml) => self.xml(xml),
            N::XmlSerialize(xml) => self.serialize(xml),
            N::BoolExpr(e) => self.all(&e.args),
            N::RowExpr(e) => self.all(&e.args),
            N::CoalesceExpr(e) => self.all(&e.args),
            N::MinMaxExpr(e) => self.all(&e.args),
            N::GroupingFunc(e) => self.all(&e.args),
            N::GroupingSet(e) => self.all(&e.content),
            N::AArrayExpr(e) => self.all(&e.elements),
            N::NullTest(e) => self.some(e.arg.as_deref()),
            N::BooleanTest(e) => self.some(e.arg.as_deref()),
            N::CollateClause(e) => self.some(e.arg.as_deref()),
            N::NamedArgExpr(e) => self.some(e.arg.as_deref()),
            N::AConst(_)
            | N::ParamRef(_)
            | N::AStar(_)
            | N::SqlvalueFunction(_)
            | N::SetToDefault(_)
            | N::Integer(_)
            | N::Float(_)
            | N::Boolean(_)
            | N::String(_)
            | N::BitString(_) => Ok(()),
            _ => self.json(node),
        }
    }

    fn select(&mut self, select: &SelectStmt) -> Found {
        let SelectStmt {
            distinct_clause,
            into_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct: _,
            having_clause,
            window_clause,
            values_lists,
            sort_clause,
            limit_offset,
            limit_count,
            limit_option: _,
            locking_clause,
            with_clause,
            op: _,
            all: _,
            larg,
            rarg,
        } = select;
        if into_clause.is_some() {
            return Err(Unfit::Writes);
        }
        if !locking_clause.is_empty() {
            return Err(Unfit::Locks);
        }
        if let Some(with) = with_clause {
            self.with(with)?;
        }
        let lists = [
            distinct_clause,
            target_list,
            from_clause,
            group_clause,
            window_clause,
            values_lists,
            sort_clause,
        ];
        lists.into_iter().try_for_each(|list| self.all(list))?;
        let parts = [where_clause, having_clause, limit_offset, limit_count];
        parts
            .into_iter()
            .try_for_each(|part| self.some(part.as_deref()))?;
        let sides = [larg, rarg].into_iter().flatten();
        sides.into_iter().try_for_each(|side| self.select(side))
    }

    fn with(&mut self, with: &WithClause) -> Found {
        let WithClause {
            ctes,
            recursive: _,
            location: _,
        } = with;
        self.all(ctes)
    }

    fn common_table(&mut self, table: &CommonTableExpr) -> Found {
        let CommonTableExpr {
            ctename: _,
            aliascolnames: _,
            ctematerialized: _,
            ctequery,
            // Names of columns.
            search_clause: _,
            cycle_clause,
            location: _,
            cterecursive: _,
            cterefcount: _,
            ctecolnames: _,
            ctecoltypes: _,
            ctecoltypmods: _,
            ctecolcollations: _,
        } = table;
        self.some(ctequery.as_deref())?;
        let Some(cycle) = cycle_clause else {
            return Ok(());
        };
        let CteCycleClause {
            cycle_col_list: _,
            cycle_mark_column: _,
            cycle_mark_value,
            cycle_mark_default,
            cycle_path_column: _,
            location: _,
            cycle_mark_type: _,
            cycle_mark_typmod: _,
            cycle_mark_collation: _,
            cycle_mark_neop: _,
        } = &**cycle;
        self.some(cycle_mark_value.as_deref())?;
        self.some(cycle_mark_default.as_deref())
    }

    fn relation(&mut self, relation: &RangeVar) -> Found {
        let RangeVar {
            catalogname: _,
            schemaname,
            relname,
            inh: _,
            relpersistence: _,
            alias: _,
            location: _,
        } = relation;
        if schemaname.starts_with("pg_temp") {
            return Err(Unfit::Temporary);
        }
        if builtin::is_of_one_server(relname) {
            return Err(Unfit::Server);
        }
        self.note(Name::Relation, relname);
        Ok(())
    }

    fn join(&mut self, join: &JoinExpr) -> Found {
        let JoinExpr {
            jointype: _,
            is_natural: _,
            larg,
            rarg,
            using_clause: _,
            join_using_alias: _,
            quals,
            alias: _,
            rtindex: _,
        } = join;
        [larg, rarg, quals]
            .into_iter()
            .try_for_each(|part| self.some(part.as_deref()))
    }

    fn range_function(&mut self, function: &RangeFunction) -> Found {
        let RangeFunction {
            lateral: _,
            ordinality: _,
            is_rowsfrom: _,
            functions,
            alias: _,
            coldeflist,
        } = function;
        self.all(functions)?;
        self.all(coldeflist)
    }

    fn table_function(&mut self, table: &RangeTableFunc) -> Found {
        let RangeTableFunc {
            lateral: _,
            docexpr,
            rowexpr,
            namespaces,
            columns,
            alias: _,
            location: _,
        } = table;
        self.some(docexpr.as_deref())?;
        self.some(rowexpr.as_deref())?;
        self.all(namespaces)?;
        self.all(columns)
    }

    fn table_column(&mut self, column: &RangeTableFuncCol) -> Found {
        let RangeTableFuncCol {
            colname: _,
            type_name,
            for_ordinality: _,
            is_not_null: _,
            colexpr,
            coldefexpr,
            location: _,
        } = column;
        self.some_type(type_name.as_ref())?;
        self.some(colexpr.as_deref())?;
        self.some(coldefexpr.as_deref())
    }

    /// `AS (name type, ..)` behind a function: only names and types can stand there.
    fn column_definition(&mut self, column: &ColumnDef) -> Found {
        self.some_type(column.type_name.as_ref())?;
        if column.raw_default.is_some() || !column.constraints.is_empty() {
            return Err(Unfit::Unknown);
        }
        Ok(())
    }

    fn column(&mut self, column: &ColumnRef) -> Found {
        let ColumnRef {
            fields,
            location: _,
        } = column;
        self.fields(fields.get(1..).unwrap_or_default());
        Ok(())
    }

    fn indirection(&mut self, indirection: &AIndirection) -> Found {
        let AIndirection { arg, indirection } = indirection;
        self.some(arg.as_deref())?;
        self.fields(indirection);
        self.all(indirection)
    }

    /// Each may be a function in disguise.
    fn fields(&mut self, fields: &[Node]) {
        for field in fields {
            if let Some(NodeEnum::String(name)) = field.node.as_ref() {
                self.note(Name::Field, &name.sval);
            }
        }
    }

    fn indices(&mut self, indices: &AIndices) -> Found {
        let AIndices {
            is_slice: _,
            lidx,
            uidx,
        } = indices;
        self.some(lidx.as_deref())?;
        self.some(uidx.as_deref())
    }

    fn target(&mut self, target: &ResTarget) -> Found {
        let ResTarget {
            name: _,
            indirection,
            val,
            location: _,
        } = target;
        self.all(indirection)?;
        self.some(val.as_deref())
    }

    fn call(&mut self, call: &FuncCall) -> Found {
        let FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group: _,
            agg_star: _,
            agg_distinct: _,
            func_variadic: _,
            funcformat: _,
            location: _,
        } = call;
        let name = last(funcname)?;
        builtin::check_function(name)?;
        if name == "current_setting" && !names_own_setting(args) {
            return Err(Unfit::Server);
        }
        self.note(Name::Function, name);
        self.all(args)?;
        self.all(agg_order)?;
        self.some(agg_filter.as_deref())?;
        over.as_ref().map_or(Ok(()), |window| self.window(window))
    }

    fn operation(&mut self, expression: &AExpr) -> Found {
        let AExpr {
            kind: _,
            name,
            lexpr,
            rexpr,
            rexpr_list_start: _,
            rexpr_list_end: _,
            location: _,
        } = expression;
        self.operator(name)?;
        self.some(lexpr.as_deref())?;
        self.some(rexpr.as_deref())
    }

    fn operator(&mut self, name: &[Node]) -> Found {
        if !name.is_empty() {
            self.note(Name::Operator, last(name)?);
        }
        Ok(())
    }

    fn sub_link(&mut self, link: &SubLink) -> Found {
        let SubLink {
            xpr: _,
            sub_link_type: _,
            sub_link_id: _,
            testexpr,
            oper_name,
            subselect,
            location: _,
        } = link;
        self.operator(oper_name)?;
        self.some(testexpr.as_deref())?;
        self.some(subselect.as_deref())
    }

    fn case(&mut self, case: &CaseExpr) -> Found {
        let CaseExpr {
            xpr: _,
            casetype: _,
            casecollid: _,
            arg,
            args,
            defresult,
            location: _,
        } = case;
        self.some(arg.as_deref())?;
        self.all(args)?;
        self.some(defresult.as_deref())
    }

    fn when(&mut self, when: &CaseWhen) -> Found {
        let CaseWhen {
            xpr: _,
            expr,
            result,
            location: _,
        } = when;
        self.some(expr.as_deref())?;
        self.some(result.as_deref())
    }

    fn sort(&mut self, sort: &SortBy) -> Found {
        let SortBy {
            node,
            sortby_dir: _,
            sortby_nulls: _,
            use_op,
            location: _,
        } = sort;
        self.operator(use_op)?;
        self.some(node.as_deref())
    }

    pub(super) fn window(&mut self, window: &WindowDef) -> Found {
        let WindowDef {
            name: _,
            refname: _,
            partition_clause,
            order_clause,
            frame_options: _,
            start_offset,
            end_offset,
            location: _,
        } = window;
        self.all(partition_clause)?;
        self.all(order_clause)?;
        self.some(start_offset.as_deref())?;
        self.some(end_offset.as_deref())
    }

    fn cast(&mut self, cast: &TypeCast) -> Found {
        let TypeCast {
            arg,
            type_name,
            location: _,
        } = cast;
        self.some(arg.as_deref())?;
        self.some_type(type_name.as_ref())
    }

    pub(super) fn some_type(&mut self, name: Option<&TypeName>) -> Found {
        name.map_or(Ok(()), |name| self.type_name(name))
    }

    fn type_name(&mut self, name: &TypeName) -> Found {
        let TypeName {
            names,
            type_oid: _,
            setof: _,
            pct_type: _,
            typmods,
            typemod: _,
            array_bounds: _,
            location: _,
        } = name;
        let own = last(names)?;
        self.note(Name::Type, own);
        // The array over a type `t` has the name `_t`.
        if let Some(element) = own.strip_prefix('_') {
            self.note(Name::Type, element);
        }
        self.all(typmods)
    }

    fn xml(&mut self, xml: &XmlExpr) -> Found {
        let XmlExpr {
            xpr: _,
            op: _,
            name: _,
            named_args,
            arg_names: _,
            args,
            xmloption: _,
            indent: _,
            r#type: _,
            typmod: _,
            location: _,
        } = xml;
        self.all(named_args)?;
        self.all(args)
    }

    fn serialize(&mut self, xml: &XmlSerialize) -> Found {
        let XmlSerialize {
            xmloption: _,
            expr,
            type_name,
            indent: _,
            location: _,
        } = xml;
        self.some(expr.as_deref())?;
        self.some_type(type_name.as_ref())
    }

    fn note(&mut self, kind: fn(Box<str>) -> Name, name: &str) {
        self.names.insert(kind(name.to_lowercase().into()));
    }
}

/// The last part of a name that may be qualified.
fn last(name: &[Node]) -> Result<&str, Unfit> {
    match name.last().and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::String(name)) => Ok(&name.sval),
        _ => Err(Unfit::Unknown),
    }
}

/// Whether `current_setting` is asked for a custom setting, which follows its session. Of the
/// others, some tell which server it is.
fn names_own_setting(args: &[Node]) -> bool {
    let Some(NodeEnum::AConst(constant)) = args.first().and_then(|node| node.node.as_ref()) else {
        return false;
    };
    matches!(&constant.val, Some(a_const::Val::Sval(name)) if name.sval.contains('.'))
}
