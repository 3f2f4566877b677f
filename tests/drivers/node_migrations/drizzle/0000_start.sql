CREATE TABLE "drv_node_orms"."author" (
	"id" serial PRIMARY KEY NOT NULL,
	"name" varchar(40) NOT NULL,
	"born" timestamp with time zone DEFAULT now(),
	CONSTRAINT "author_name_unique" UNIQUE("name")
);
--> statement-breakpoint
CREATE TABLE "drv_node_orms"."book" (
	"id" bigserial PRIMARY KEY NOT NULL,
	"author_id" integer NOT NULL,
	"title" text
);
--> statement-breakpoint
ALTER TABLE "drv_node_orms"."book" ADD CONSTRAINT "book_author_id_fk" FOREIGN KEY ("author_id") REFERENCES "drv_node_orms"."author"("id") ON DELETE cascade ON UPDATE no action;
