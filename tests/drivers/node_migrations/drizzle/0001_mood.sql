CREATE TYPE "drv_node_orms"."mood" AS ENUM('sad', 'glad');--> statement-breakpoint
ALTER TABLE "drv_node_orms"."author" ADD COLUMN "mood" "drv_node_orms"."mood" DEFAULT 'sad' NOT NULL;--> statement-breakpoint
ALTER TABLE "drv_node_orms"."author" ADD COLUMN "data" jsonb;--> statement-breakpoint
CREATE INDEX "book_title" ON "drv_node_orms"."book" USING btree ("title");
