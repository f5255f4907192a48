/* recipe.c - the table of recipes: see recipe.h. Made once, then only read. */
#include "x86/recipe.h"

#include <stdlib.h>

#define TABLE_SIZE 8192u /* about 2600 operations have a recipe */

struct x86_recipes {
	struct {
		x86_op_fn op;
		struct x86_recipe recipe;
	} entry[TABLE_SIZE];
};

/* Where @op stands, or the free entry where it would. */
static unsigned find(const struct x86_recipes *r, x86_op_fn op)
{
	unsigned i = (unsigned)(((uintptr_t)op >> 4) * 0x9e3779b1u) % TABLE_SIZE;

	while (r->entry[i].op && r->entry[i].op != op)
		i = (i + 1) % TABLE_SIZE;
	return i;
}

void x86_recipe_add(struct x86_recipes *r, x86_op_fn op, struct x86_recipe recipe)
{
	unsigned i = op ? find(r, op) : 0;

	if (!op || r->entry[i].op)
		return;
	r->entry[i].op = op;
	r->entry[i].recipe = recipe;
}

void x86_recipe_binary(
	struct x86_recipes *r, const struct x86_binary_forms sizes[4], struct x86_recipe recipe)
{
	for (unsigned i = 0; i < 4; i++) {
		const struct x86_binary_forms *f = &sizes[i];
		struct x86_recipe one = recipe;

		one.size = (uint8_t)(1u << i);
		one.form = X86_FORM_RR;
		x86_recipe_add(r, f->rr, one);
		one.form = X86_FORM_RI;
		x86_recipe_add(r, f->ri, one);
		for (unsigned full = 0; full < 2; full++) {
			one.full = full;
			one.form = X86_FORM_RM;
			x86_recipe_add(r, f->rm[full], one);
			for (unsigned lock = 0; lock < 2; lock++) {
				one.lock = lock;
				one.form = X86_FORM_MR;
				x86_recipe_add(r, f->mr[lock][full], one);
				one.form = X86_FORM_MI;
				x86_recipe_add(r, f->mi[lock][full], one);
			}
			one.lock = false;
		}
	}
}

void x86_recipe_row(struct x86_recipes *r, const x86_op_fn row[FORMS], enum x86_recipe_form reg,
	enum x86_recipe_form mem, struct x86_recipe recipe)
{
	recipe.form = (uint8_t)reg;
	x86_recipe_add(r, row[FORM_REGISTER], recipe);
	recipe.form = (uint8_t)mem;
	x86_recipe_add(r, row[FORM_SIMPLE], recipe);
	recipe.full = true;
	x86_recipe_add(r, row[FORM_FULL], recipe);
}

struct x86_recipes *x86_recipes_create(void)
{
	struct x86_recipes *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	x86_recipes_alu(r);
	x86_recipes_compare(r);
	x86_recipes_move(r);
	x86_recipes_shift(r);
	x86_recipes_bit(r);
	x86_recipes_multiply(r);
	x86_recipes_atomic(r);
	x86_recipes_stack(r);
	x86_recipes_branch(r);
	x86_recipes_simd(r);
	x86_recipes_translate(r);
	return r;
}

void x86_recipes_destroy(struct x86_recipes *r)
{
	free(r);
}

const struct x86_recipe *x86_recipe_of(const struct x86_recipes *r, x86_op_fn op)
{
	return &r->entry[find(r, op)].recipe;
}
