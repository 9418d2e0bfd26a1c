/** The small shop of `shovel demo`: its tables, first rows, and the set file that captures them. */

export const SHOP_SCHEMA = `
create table public.customers (
  id      bigint generated always as identity primary key,
  name    text not null,
  city    text,
  profile jsonb not null default '{}'
);
create table public.products (
  id    integer primary key,
  title text not null,
  price numeric(10, 2) not null,
  stock integer not null,
  tags  text[] not null default '{}'
);
create type public.order_status as enum ('open', 'paid', 'shipped');
create table public.orders (
  id          bigint generated always as identity primary key,
  customer_id bigint not null references public.customers,
  status      public.order_status not null default 'open',
  placed_at   timestamptz not null default now(),
  total       numeric(12, 2) not null default 0
);
create table public.order_lines (
  order_id   bigint not null references public.orders on delete cascade,
  line       smallint not null,
  product_id integer not null,
  quantity   integer not null,
  primary key (order_id, line)
);
create table public.page_views (
  seen_at timestamptz not null default clock_timestamp(),
  page    text not null,
  took_ms double precision not null
);
insert into public.customers (name, city, profile)
  select 'Customer ' || n, (array['Oslo', 'Lima', 'Kyoto', null])[1 + n % 4], json_build_object('tier', n % 3)
  from generate_series(1, 200) as n;
insert into public.products (id, title, price, stock, tags)
  select n, 'Product ' || n, (n * 37 % 5000) / 100.0, 1000000, array['shelf ' || n % 7] from generate_series(1, 100) as n;
`;

/** Tables with their key columns; null: rows are told apart by their whole content. */
export const SHOP_TABLES: Readonly<Record<string, readonly string[] | null>> = {
  'public.customers': ['id'],
  'public.products': ['id'],
  'public.orders': ['id'],
  'public.order_lines': ['order_id', 'line'],
  'public.page_views': null,
};

export function shopSetFile(trailPath: string): string {
  return `name: shop
databases:
  main: { dsn: "\${SHOP_DSN}" }          # filled in by the process that connects
tables:
  - name: public.customers
  - name: public.products
  - name: public.orders
  - name: public.order_lines
  - name: public.page_views
    key: none                           # a table without a key
streams:
  trail:
    file: { path: ${JSON.stringify(trailPath)} }
`;
}
