package lua

import "github.com/yuin/gopher-lua/ast"

// visitExprs calls f for every expression in stmts, functions' bodies included.
func visitExprs(stmts []ast.Stmt, f func(ast.Expr)) {
	var expr func(ast.Expr)
	exprs := func(es []ast.Expr) {
		for _, e := range es {
			expr(e)
		}
	}
	expr = func(e ast.Expr) {
		if e == nil {
			return
		}
		f(e)
		switch e := e.(type) {
		case *ast.AttrGetExpr:
			expr(e.Object)
			expr(e.Key)
		case *ast.TableExpr:
			for _, fl := range e.Fields {
				if fl.Key != nil {
					expr(fl.Key)
				}
				expr(fl.Value)
			}
		case *ast.FuncCallExpr:
			if e.Func != nil {
				expr(e.Func)
			}
			if e.Receiver != nil {
				expr(e.Receiver)
			}
			exprs(e.Args)
		case *ast.LogicalOpExpr:
			expr(e.Lhs)
			expr(e.Rhs)
		case *ast.RelationalOpExpr:
			expr(e.Lhs)
			expr(e.Rhs)
		case *ast.ArithmeticOpExpr:
			expr(e.Lhs)
			expr(e.Rhs)
		case *ast.StringConcatOpExpr:
			expr(e.Lhs)
			expr(e.Rhs)
		case *ast.UnaryMinusOpExpr:
			expr(e.Expr)
		case *ast.UnaryNotOpExpr:
			expr(e.Expr)
		case *ast.UnaryLenOpExpr:
			expr(e.Expr)
		case *ast.FunctionExpr:
			visitExprs(e.Stmts, f)
		}
	}
	for _, s := range stmts {
		switch s := s.(type) {
		case *ast.AssignStmt:
			exprs(s.Lhs)
			exprs(s.Rhs)
		case *ast.LocalAssignStmt:
			exprs(s.Exprs)
		case *ast.FuncCallStmt:
			expr(s.Expr)
		case *ast.DoBlockStmt:
			visitExprs(s.Stmts, f)
		case *ast.WhileStmt:
			expr(s.Condition)
			visitExprs(s.Stmts, f)
		case *ast.RepeatStmt:
			visitExprs(s.Stmts, f)
			expr(s.Condition)
		case *ast.IfStmt:
			expr(s.Condition)
			visitExprs(s.Then, f)
			visitExprs(s.Else, f)
		case *ast.NumberForStmt:
			expr(s.Init)
			expr(s.Limit)
			if s.Step != nil {
				expr(s.Step)
			}
			visitExprs(s.Stmts, f)
		case *ast.GenericForStmt:
			exprs(s.Exprs)
			visitExprs(s.Stmts, f)
		case *ast.FuncDefStmt:
			visitExprs(s.Func.Stmts, f)
		case *ast.ReturnStmt:
			exprs(s.Exprs)
		}
	}
}

// size estimates the steps of one pass through a block.
func size(stmts []ast.Stmt) int {
	n := len(stmts) + 1
	visitExprs(stmts, func(ast.Expr) { n++ })
	return n
}

// calledNames returns the names that a block calls as global functions; every
// mention counts, since a function may be called by another name.
func calledNames(stmts []ast.Stmt) []string {
	var names []string
	visitExprs(stmts, func(e ast.Expr) {
		if id, ok := e.(*ast.IdentExpr); ok {
			names = append(names, id.Value)
		}
	})
	return names
}
