package shop;

import java.io.InputStream;
import java.util.List;
import java.util.Properties;

import shop.model.Order;

public class Main {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        try (InputStream in = Main.class.getResourceAsStream("/shop.properties")) {
            settings.load(in);
        }
        List<Order> orders = List.of(new Order("pencils", 12, 0.5), new Order("paper", 1, 4));
        double total = orders.stream().mapToDouble(Order::price).sum();
        System.out.println(settings.getProperty("title") + " " + total);
    }
}
